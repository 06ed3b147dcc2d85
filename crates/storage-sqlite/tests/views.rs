//! Tests of the views that show rows to people with an SQL shell.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use domain::{
    event::head,
    ports::engine::{
        Space, SpaceKind, StorageEngine, Transaction,
        rows::{Part::Number, Part::Text, key},
    },
};
use rusqlite::{Connection, types::ValueRef};
use support::{engine, event};

/// The stored minute of a counter has its highest bit flipped.
const MINUTE: u64 = 29_000_000 ^ (1 << 63);

fn event_bytes() -> Vec<u8> {
    let event = event("e1", "u", "hello");
    let head = head::encode(&event);
    [&(head.len() as u32).to_be_bytes()[..], &head, event.json().as_bytes()].concat()
}

fn rows() -> Transaction {
    let mut rows = Transaction::new();
    let mut put = |kind, scope: Vec<u8>, key: Vec<u8>, value: &[u8]| {
        rows.put(Space::within(kind, scope).row(key), value);
    };
    let (none, group) = (Vec::new(), || key(&[Text("g")]));
    let segment = || key(&[Text("g"), Number(3)]);
    let of_id = || key(&[Text("id")]);
    put(SpaceKind::Group, none.clone(), group(), br#"{"spec":{"name":"g","types":["t"],"key":"order","segments":4},"created":"2024-01-15T10:30:00Z","gaps":[]}"#);
    put(SpaceKind::GroupSeen, none.clone(), group(), b"2024-01-15T10:31:00Z");
    put(SpaceKind::Segment, group(), key(&[Number(3)]), b"17:20");
    put(SpaceKind::Fence, group(), key(&[Number(3)]), b"4294967297:18446744073709551615");
    put(SpaceKind::Lease, group(), key(&[Number(3)]), br#"{"until":"2024-01-15T10:32:00Z","consumer":"c"}"#);
    put(SpaceKind::LaneEnd, group(), key(&[Number(3)]), b"9");
    put(SpaceKind::LaneSize, group(), key(&[Number(3)]), b"2");
    put(
        SpaceKind::Consumer,
        group(),
        key(&[Text("c")]),
        br#"{"token":18446744073709551615,"until":"2024-01-15T10:32:00Z"}"#,
    );
    put(SpaceKind::Blocked, segment(), key(&[Text("user"), Text("u1")]), br#"{"key":{"kind":"user","id":"u1"},"position":5,"through":7,"claimedTo":6,"attempts":2,"ends":1,"due":null,"error":"no","since":"2024-01-15T10:30:00Z"}"#);
    put(SpaceKind::Lane, segment(), key(&[Number(9)]), br#"{"origin":{"replay":"r"},"positions":[1,2]}"#);
    put(SpaceKind::LaneProgress, segment(), key(&[Number(9)]), br#"{"done":1}"#);
    put(SpaceKind::ReplayBatch, key(&[Text("r")]), key(&[Number(2), Text("g"), Number(3), Text("abc")]), b"");
    put(
        SpaceKind::ReplayResult,
        key(&[Text("r")]),
        key(&[Number(2), Text("g"), Number(3)]),
        br#"{"handled":1}"#,
    );
    put(SpaceKind::DeadLetter, none.clone(), of_id(), br#"{"group":"g","partition":0,"sequence":5,"state":"open","attempts":3,"history":[],"fingerprint":"f","replayId":null,"parked":true,"created":"2024-01-15T10:30:00Z","updated":"2024-01-15T10:31:00Z","reason":"r"}"#);
    put(SpaceKind::DeadLetterEvent, none.clone(), of_id(), &event_bytes());
    let line = b"{\"due\":\"2024-01-15T10:33:00Z\",\"scheduledAt\":\"2024-01-15T10:30:00Z\",\"number\":7}\n";
    put(SpaceKind::Scheduled, none.clone(), of_id(), &[&line[..], &event_bytes()].concat());
    put(SpaceKind::Checkpoint, none.clone(), key(&[Text("nightly")]), br#"{"id":"i","name":"nightly","mark":"m","lastProcessedEventId":"e1","eventCount":4,"metadata":{},"createdAt":"2024-01-15T10:30:00Z","hold":true}"#);
    put(SpaceKind::Schema, none.clone(), key(&[Text("note.made"), Text("1")]), br#"{"eventType":"note.made","eventVersion":"1","document":"d1","pointer":"","describes":"data","addedAt":"2024-01-15T10:30:00Z"}"#);
    put(SpaceKind::SchemaDocument, none.clone(), key(&[Text("d1")]), b"{}");
    put(SpaceKind::Replay, none.clone(), of_id(), br#"{"state":"RUNNING","created":"2024-01-15T10:30:00Z","updated":"2024-01-15T10:31:00Z","progress":"p","hold":null}"#);
    put(SpaceKind::ReplayPlan, none.clone(), of_id(), b"plan");
    put(SpaceKind::ReplayFence, none.clone(), of_id(), b"lease");
    put(SpaceKind::ReplaySettled, none.clone(), of_id(), b"12");
    put(SpaceKind::Token, none.clone(), of_id(), br#"{"id":"id","name":"mailer","roles":["consume"],"groups":["g"],"createdAt":"2024-01-15T10:30:00Z","createdBy":"ann","secretHash":"h"}"#);
    put(SpaceKind::Plan, none.clone(), of_id(), br#"{"id":"id","hash":"h","createdAt":"2024-01-15T10:30:00Z","createdBy":"ann","expiresAt":"2024-01-16T10:30:00Z","totalEvents":4,"to":"groups","approvalReason":null,"approval":{"by":"bo"},"applied":null}"#);
    put(SpaceKind::PlanDocument, none.clone(), of_id(), b"document");
    let request = key(&[Text("id"), Text("POST /v1/trims"), Text("k")]);
    put(SpaceKind::Request, none.clone(), request, br#"{"digest":"d","claim":"c","leaseEnds":"2024-01-15T10:30:00Z","forgotten":"2024-01-16T10:30:00Z","answer":{"status":202,"media":"m","body":"b"}}"#);
    put(SpaceKind::Audit, none, key(&[Number(1)]), br#"{"at":"2024-01-15T10:30:00Z","note":{"operator":"ann","action":"trim","subject":"s","reason":"why","planHash":"p","phase":{"phase":"begun"},"details":{"a":1}},"hash":"h"}"#);
    for (what, value) in [("count", "3"), ("sum", "9")] {
        let of = key(&[Text("delivered"), Text("g"), Text(what)]);
        put(SpaceKind::Stat, key(&[Number(MINUTE)]), of, value.as_bytes());
    }
    rows
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

fn select(connection: &Connection, columns: &str, view: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("SELECT {columns} FROM {view}")).unwrap();
    let count = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..count).map(|at| row.get_ref(at).map(shown)).collect::<rusqlite::Result<Vec<_>>>()
    });
    let rows: Vec<_> = rows.unwrap().map(|row| row.unwrap().join("|")).collect();
    rows
}

#[tokio::test]
async fn views_show_rows_under_the_names_of_tables() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    engine.commit(0, &[rows()]).await.unwrap();
    let connection = Connection::open(engine.path()).unwrap();
    let json = event("e1", "u", "hello").json().to_owned();
    let head = format!("{:?}", ValueRef::Blob(&head::encode(&event("e1", "u", "hello"))));
    for (view, columns, expected) in [
        ("audit", "*", r#"1|2024-01-15T10:30:00Z|ann|trim|s|why|p|begun|{"a":1}|h"#.to_owned()),
        ("token", "*", r#"id|mailer|["consume"]|["g"]|2024-01-15T10:30:00Z|ann|NULL"#.to_owned()),
        (
            "kept_plan",
            "*",
            "id|h|2024-01-15T10:30:00Z|ann|2024-01-16T10:30:00Z|4|groups|NULL|bo|NULL|document".to_owned(),
        ),
        ("request", "*", "id|POST /v1/trims|k|c|d|2024-01-15T10:30:00Z|2024-01-16T10:30:00Z|202".to_owned()),
        ("consumer_group", "*", r#"g|["t"]|order|4|2024-01-15T10:30:00Z|2024-01-15T10:31:00Z|[]"#.to_owned()),
        ("segment", "*", "g|3|17|20|4294967297|18446744073709551615|c|2024-01-15T10:32:00Z|9|2".to_owned()),
        ("consumer", "*", "g|c|18446744073709551615|2024-01-15T10:32:00Z".to_owned()),
        ("blocked", "*", "g|3|user|u1|5|7|6|2|1|NULL|no|2024-01-15T10:30:00Z".to_owned()),
        ("lane", "*", r#"g|3|9|{"replay":"r"}|[1,2]|2|{"done":1}"#.to_owned()),
        ("lane_batch", "*", r#"r|2|g|3|{"handled":1}"#.to_owned()),
        (
            "dead_letter",
            "*",
            format!("id|g|0|5|open|3|f|NULL|1|2024-01-15T10:30:00Z|2024-01-15T10:31:00Z|r|[]|{head}|{json}"),
        ),
        ("scheduled", "*", format!("id|2024-01-15T10:33:00Z|7|2024-01-15T10:30:00Z|{head}|{json}")),
        (
            "replay_job",
            "*",
            "id|RUNNING|2024-01-15T10:30:00Z|2024-01-15T10:31:00Z|p|NULL|plan|lease|12".to_owned(),
        ),
        ("checkpoint", "*", "nightly|i|m|e1|4|{}|2024-01-15T10:30:00Z|1".to_owned()),
        ("event_schema", "*", "note.made|1|d1||data|2024-01-15T10:30:00Z".to_owned()),
        ("schema_document", "*", "d1|{}".to_owned()),
        ("stat", "minute, name, label, count, sum", "29000000|delivered|g|3|9".to_owned()),
    ] {
        assert_eq!(select(&connection, columns, view), [expected], "{view}");
    }
}

#[tokio::test]
async fn a_view_shows_null_where_a_value_is_not_what_it_expects() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    let mut rows = Transaction::new();
    for kind in SpaceKind::ALL {
        rows.put(Space::within(*kind, "scope").row("key"), "no json");
        rows.put(Space::of(*kind).row([0xff, 0]), [0xff, 0xfe]);
    }
    engine.commit(0, &[rows]).await.unwrap();
    let connection = Connection::open(engine.path()).unwrap();
    let views = select(&connection, "name", "sqlite_schema WHERE type = 'view' ORDER BY name");
    assert_eq!(views.len(), 17, "{views:?}");
    for view in views {
        assert!(!select(&connection, "*", &view).is_empty(), "{view}");
    }
}
