//! Tests of upcasters: chains, sets that are refused, and failures.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

use event_replay_domain::{
    DeliveryOptions, Document, Event, Limits, Priority, Upcasters, UpcastersError, ordering::KeySource,
    ports::EventUpcaster,
};
use serde_json::{Value, json};

const TYPE: &str = "order.placed";

fn event(version: &str, data: &Value) -> Event {
    let json = json!({
        "id": "e-1", "type": TYPE, "version": version, "timestamp": "2024-01-15T10:30:00+01:00", "source": "shop",
        "correlationId": "wf-7", "orderId": "o-1", "userId": "ann", "metadata": {"note": "kept"}, "data": data
    });
    Document::parse(json.to_string().as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
}

/// Adds a name to the list of steps in the data.
fn note(name: &'static str) -> impl Fn(Value) -> Result<Value, String> + Send + Sync {
    move |mut data: Value| {
        data["steps"].as_array_mut().ok_or("the data has no steps")?.push(name.into());
        Ok(data)
    }
}

fn chain() -> Upcasters {
    let builder =
        Upcasters::builder().data(TYPE, "1.1", "2.0", note("b")).data(TYPE, "1.0", "1.1", note("a"));
    builder.build().unwrap()
}

#[test]
fn a_chain_is_followed_to_its_end_from_any_version() {
    let upcasters = chain();
    for (version, steps) in [("1.0", json!(["a", "b"])), ("1.1", json!(["b"]))] {
        assert_eq!(upcasters.target(TYPE, version), Some("2.0"));
        let upcast = upcasters.upcast(&event(version, &json!({"steps": []}))).unwrap();
        assert_eq!(upcast.version(), "2.0");
        assert_eq!(upcast.value().unwrap()["data"]["steps"], steps);
    }
}

#[test]
fn an_event_without_an_upcaster_keeps_its_bytes() {
    for (upcasters, stored) in
        [(chain(), event("2.0", &json!({}))), (Upcasters::default(), event("1.0", &json!({})))]
    {
        assert_eq!(upcasters.target(TYPE, stored.version()), None);
        assert_eq!(upcasters.upcast(&stored).unwrap().json(), stored.json());
    }
    assert_eq!(chain().target("order.paid", "1.0"), None);
}

#[test]
fn all_other_members_the_key_and_the_options_stay() {
    let options = DeliveryOptions { priority: Priority::High, ..DeliveryOptions::default() };
    let stored =
        event("1.0", &json!({"steps": []})).with_key_source(KeySource::Entity(1)).with_options(options);
    let upcast = chain().upcast(&stored).unwrap();
    assert_eq!(upcast.ordering_key(), stored.ordering_key());
    assert_eq!(upcast.options(), stored.options());
    assert_eq!((upcast.id(), upcast.timestamp()), (stored.id(), stored.timestamp()));
    let (mut before, mut after) = (stored.value().unwrap(), upcast.value().unwrap());
    for name in ["data", "version"] {
        before.as_object_mut().unwrap().remove(name);
        after.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(before, after);
}

#[test]
fn an_upcaster_of_the_event_may_rename_an_entity() {
    let rename = |mut event: Value| -> Result<Value, String> {
        let members = event.as_object_mut().ok_or("not an object")?;
        let order = members.remove("orderId").ok_or("no order")?;
        members.insert("purchaseId".to_owned(), order);
        Ok(event)
    };
    let upcasters = Upcasters::builder().event(TYPE, "1.0", "2.0", rename).build().unwrap();
    let stored = event("1.0", &json!({})).with_key_source(KeySource::Entity(1));
    let upcast = upcasters.upcast(&stored).unwrap();
    assert!(upcast.entities().any(|entity| entity == ("purchase", "o-1")));
    assert_eq!(upcast.ordering_key(), stored.ordering_key());
}

#[test]
fn data_that_is_missing_passes_null_and_may_stay_missing() {
    let json = json!({
        "id": "e-1", "type": TYPE, "version": "1.0", "timestamp": "2024-01-15T10:30:00Z", "source": "s", "metadata": {}
    });
    let stored =
        Document::parse(json.to_string().as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
    let same = Upcasters::builder().data(TYPE, "1.0", "2.0", Ok::<Value, String>).build().unwrap();
    assert_eq!(same.upcast(&stored).unwrap().value().unwrap().get("data"), None);
}

#[test]
fn two_upcasters_of_one_version_are_refused() {
    let error =
        Upcasters::builder().data(TYPE, "1.0", "1.1", note("a")).data(TYPE, "1.0", "2.0", note("b")).build();
    assert_eq!(error.unwrap_err().to_string(), "two upcasters take order.placed 1.0; remove one of them");
}

#[test]
fn a_circle_is_refused_and_named() {
    let three = Upcasters::builder()
        .data(TYPE, "0.9", "1.0", note("z"))
        .data(TYPE, "1.0", "1.1", note("a"))
        .data(TYPE, "1.1", "2.0", note("b"))
        .data(TYPE, "2.0", "1.0", note("c"));
    let said = three.build().unwrap_err().to_string();
    let circle =
        "the upcasters of order.placed lead in a circle: 1.0 to 1.1 to 2.0 to 1.0; remove one of them";
    assert_eq!(said, circle);
    let itself = Upcasters::builder().data(TYPE, "1.0", "1.0", note("a")).build().unwrap_err();
    assert_eq!(
        itself,
        UpcastersError::Cycle {
            event_type: TYPE.to_owned(),
            versions: vec!["1.0".to_owned(), "1.0".to_owned()]
        }
    );
    // Another type may have the same versions.
    let other =
        Upcasters::builder().data(TYPE, "1.0", "2.0", note("a")).data("other", "2.0", "1.0", note("b"));
    other.build().unwrap();
}

#[test]
fn an_empty_name_is_refused() {
    let error = Upcasters::builder().data(TYPE, "", "2.0", note("a")).build().unwrap_err();
    assert!(matches!(error, UpcastersError::Unnamed { .. }));
}

#[test]
fn a_failure_names_the_event_and_the_upcaster() {
    let failed = chain().upcast(&event("1.0", &json!({}))).unwrap_err();
    let said =
        "event \"e-1\" (order.placed 1.0): upcasting order.placed 1.0 to 1.1 failed: the data has no steps";
    assert_eq!(failed.to_string(), said);
    let builder = Upcasters::builder().data(TYPE, "1.0", "1.1", note("a"));
    let later = builder.data(TYPE, "1.1", "2.0", |_| -> Result<Value, String> { Err("no rate".to_owned()) });
    let failed = later.build().unwrap().upcast(&event("1.0", &json!({"steps": []}))).unwrap_err();
    let said = "event \"e-1\" (order.placed 1.0): upcasting order.placed 1.1 to 2.0 failed: no rate";
    assert_eq!(failed.to_string(), said);
}

#[test]
fn a_result_that_is_not_the_same_event_is_a_failure() {
    let set = |name: &'static str, value: Value| {
        let set = move |mut event: Value| -> Result<Value, String> {
            event[name] = value.clone();
            Ok(event)
        };
        let upcasters = Upcasters::builder().event(TYPE, "1.0", "2.0", set).build().unwrap();
        upcasters.upcast(&event("1.0", &json!({}))).map_err(|error| error.reason)
    };
    for (name, value, reason) in [
        ("id", json!("e-2"), "an upcaster cannot change the member \"id\", which identifies the event"),
        ("timestamp", json!("2024-01-15T09:30:00Z"), "an upcaster cannot change the member \"timestamp\""),
        ("type", json!("order.paid"), "an upcaster cannot change the member \"type\""),
        ("version", json!("3.0"), "the result has another version than \"2.0\""),
        ("source", json!(7), "the result is not a valid event: /source: \"source\" must be a string (type)"),
    ] {
        let said = set(name, value).unwrap_err();
        assert!(said.starts_with(reason), "{said}");
    }
    assert_eq!(set("version", json!("2.0")).unwrap().version(), "2.0");
    let number =
        Upcasters::builder().event(TYPE, "1.0", "2.0", |_| Ok::<_, String>(json!(7))).build().unwrap();
    assert_eq!(
        number.upcast(&event("1.0", &json!({}))).unwrap_err().reason,
        "the result is not a JSON object"
    );
}

#[test]
fn a_panic_and_a_number_that_loses_digits_are_failures() {
    let panics = |_: Value| -> Result<Value, String> { panic!("no rate") };
    let upcasters = Upcasters::builder().data(TYPE, "1.0", "2.0", panics).build().unwrap();
    let reason = upcasters.upcast(&event("1.0", &json!({}))).unwrap_err().reason;
    assert_eq!(reason, "the upcaster panicked: no rate");
    let json = event("1.0", &json!({"amount": 1})).json().replace(":1}", ":18446744073709551616}");
    let stored = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
    let reason = chain().upcast(&stored).unwrap_err().reason;
    assert_eq!(reason, "the number 18446744073709551616 has more digits than 64 bits can hold");
}
