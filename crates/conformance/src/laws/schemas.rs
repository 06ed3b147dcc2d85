//! Laws of the schema store.

use domain::ports::{Describes, SchemaRecord};

use crate::{Bench, Harness};

fn schema(event_type: &str, version: Option<&str>, document: &str) -> SchemaRecord {
    SchemaRecord {
        event_type: event_type.to_owned(),
        event_version: version.map(str::to_owned),
        document: document.to_owned(),
        pointer: "/definitions/a~1b".to_owned(),
        describes: if version.is_some() { Describes::Data } else { Describes::Event },
        added_at: "2024-01-15T10:30:00Z".parse().unwrap(),
    }
}

/// Every handle reads each byte of a schema's text exactly as it was put.
pub async fn a_schema_comes_back_as_it_was_put(h: &impl Harness) {
    let bench = Bench::new(h).await;
    assert_eq!(bench.store.list_schemas().await.unwrap(), []);
    let record =
        schema("a:{b}*", Some("1.0"), "{\r\n \"b\": 1.50, \"a\": 123456789012345678901234567890 }\n");
    bench.store.put_schema(record.clone()).await.unwrap();
    assert_eq!(bench.storage.open().await.list_schemas().await.unwrap(), [record]);
}

/// Each type and version has one record. A missing version counts as a separate version.
pub async fn putting_a_schema_replaces_that_of_its_type_and_version(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for document in ["1", "2"] {
        for version in [None, Some(""), Some("1.0")] {
            bench.store.put_schema(schema("t", version, document)).await.unwrap();
        }
    }
    let expected = [schema("t", None, "2"), schema("t", Some(""), "2"), schema("t", Some("1.0"), "2")];
    assert_eq!(bench.store.list_schemas().await.unwrap(), expected);
}

/// The list is sorted by type and then by version. Records without a version come first.
pub async fn schemas_are_listed_by_type_and_version(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let sorted = [("a", Some("1")), ("a.b", None), ("a.b", Some("1.0")), ("a.b", Some("2.0")), ("b", None)];
    for (event_type, version) in sorted.iter().rev() {
        bench.store.put_schema(schema(event_type, *version, "{}")).await.unwrap();
    }
    let listed = bench.store.list_schemas().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|r| (r.event_type.as_str(), r.event_version.as_deref())).collect();
    assert_eq!(listed, sorted);
}

/// A removal takes the record of the given type and version. It returns false if no such record exists.
pub async fn removing_a_schema_leaves_the_others(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for version in [None, Some("1.0"), Some("2.0")] {
        bench.store.put_schema(schema("t", version, "{}")).await.unwrap();
    }
    assert!(!bench.store.remove_schema("t", Some("3.0")).await.unwrap());
    assert!(!bench.store.remove_schema("T", None).await.unwrap());
    assert!(bench.store.remove_schema("t", None).await.unwrap());
    assert!(!bench.store.remove_schema("t", None).await.unwrap());
    assert!(bench.store.remove_schema("t", Some("2.0")).await.unwrap());
    assert_eq!(bench.store.list_schemas().await.unwrap(), [schema("t", Some("1.0"), "{}")]);
}
