//! Tests of admission: which bytes are admitted as an event and which are refused. Each refusal names the place and
//! the rule.

// A test fails by a panic, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic)]

use event_replay_domain::{Document, Event, Limits, event::head};
use proptest::prelude::*;

const LEAST: &str =
    r#""type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{}"#;

/// Returns an event with one more piece of JSON among its members.
fn with(members: &str) -> String {
    format!(r#"{{"id":"e1",{LEAST},{members}}}"#)
}

/// Returns an event with this JSON as its id.
fn with_id(json: &str) -> String {
    format!(r#"{{"id":{json},{LEAST}}}"#)
}

/// Returns an event in which one piece of text is replaced by another.
fn swapped(from: &str, to: &str) -> String {
    let json = with_id(r#""e1""#);
    assert!(json.contains(from), "{from}");
    json.replacen(from, to, 1)
}

#[track_caller]
fn parse(bytes: impl AsRef<[u8]>) -> Event {
    let event = Document::parse(bytes.as_ref(), &Limits::default()).unwrap().into_event();
    event.unwrap_or_else(|violations| panic!("{violations:?}"))
}

/// Returns all violations, as (pointer, rule).
fn refusals(bytes: impl AsRef<[u8]>, limits: &Limits) -> Vec<(String, String)> {
    let violations = match Document::parse(bytes.as_ref(), limits) {
        Err(violation) => vec![violation],
        Ok(document) => document.into_event().err().unwrap_or_default(),
    };
    assert!(violations.iter().all(|violation| !violation.message.is_empty()));
    violations.into_iter().map(|violation| (violation.pointer, violation.rule.into_owned())).collect()
}

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>, expected: &[(&str, &str)]) {
    let found = refusals(&bytes, &Limits::default());
    let found: Vec<_> = found.iter().map(|(pointer, rule)| (pointer.as_str(), rule.as_str())).collect();
    let shown: String = String::from_utf8_lossy(bytes.as_ref()).chars().take(300).collect();
    assert_eq!(found, expected, "{shown}");
}

#[track_caller]
fn says(bytes: impl AsRef<[u8]>, excerpt: &str) {
    let message = match Document::parse(bytes.as_ref(), &Limits::default()) {
        Err(violation) => violation.message,
        Ok(document) => document.into_event().unwrap_err().remove(0).message,
    };
    assert!(message.contains(excerpt), "{message:?} says {excerpt:?}");
}

#[test]
fn the_least_event_is_admitted_with_its_bytes() {
    let json = with_id(r#""e1""#);
    let event = parse(&json);
    assert_eq!(event.json(), json);
    let names = (event.id(), event.event_type(), event.version(), event.source());
    assert_eq!(names, ("e1", "t", "1", "s"));
    assert_eq!((event.correlation_id(), event.causation_id(), event.entities().len()), (None, None, 0));
}

#[test]
fn a_member_that_occurs_twice_is_refused_at_any_depth_and_in_any_spelling() {
    refused(with(r#""id":"e2""#), &[("", "json")]);
    refused(with(r#""\u0069d":"e1""#), &[("", "json")]);
    refused(with(r#""x":1,"x":1"#), &[("", "json")]);
    refused(with(r#""data":{"a":1,"a":1}"#), &[("/data", "json")]);
    refused(with(r#""data":{"a":1,"\u0061":2}"#), &[("/data", "json")]);
    refused(with(r#""data":{"é":1,"\u00e9":2}"#), &[("/data", "json")]);
    refused(with(r#""data":[[{"b":{"":1,"":1}}]]"#), &[("/data", "json")]);
    refused(swapped(r#""metadata":{}"#, r#""metadata":{"a":1,"a":1}"#), &[("/metadata", "json")]);
    refused(with(r#""a/b~":{"c":1,"c":1}"#), &[("/a~1b~0", "json")]);
    says(with(r#""data":{"amount":1,"amount":2}"#), r#""amount" occurs twice"#);
    // The same name in two objects, or in another case, is not a repetition.
    parse(with(r#""data":{"id":1,"a":{"a":1},"A":2},"ID":1"#));
}

#[test]
fn nesting_ends_at_the_limit() {
    let data = |open: &str, inner: &str, close: &str, levels: usize| {
        with(&format!(r#""data":{}{inner}{}"#, open.repeat(levels), close.repeat(levels)))
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        // The event itself is the first level.
        parse(data(open, "0", close, 63));
        refused(data(open, "0", close, 64), &[("/data", "json")]);
        says(data(open, "0", close, 64), "too deep");
        refused(data(open, "0", close, 120), &[("/data", "json")]);
        // An empty object is a level too.
        parse(data(open, "{}", close, 62));
        refused(data(open, "{}", close, 63), &[("/data", "json")]);
        // Far deeper than any stack allows.
        refused(data(open, "0", close, 50_000), &[("/data", "json")]);
        refused(with(&format!(r#""data":{}"#, open.repeat(100_000))), &[("", "json")]);
    }
    let deep = |levels: usize| {
        let metadata = format!(r#""metadata":{}0{}"#, r#"{"a":"#.repeat(levels), "}".repeat(levels));
        swapped(r#""metadata":{}"#, &metadata)
    };
    parse(deep(63));
    refused(deep(64), &[("/metadata", "json")]);
    let flat = Limits { max_depth: 2, ..Limits::default() };
    assert_eq!(refusals(with(r#""data":[1]"#), &flat), []);
    assert_eq!(refusals(with(r#""data":[[1]]"#), &flat), [("/data".to_owned(), "json".to_owned())]);
}

#[test]
fn what_is_no_number_is_refused() {
    for number in ["NaN", "Infinity", "-Infinity", "+1", "01", ".5", "1.", "0x1", "1_000", "-", "1e"] {
        refused(with(&format!(r#""data":{{"n":{number}}}"#)), &[("", "json")]);
    }
    for number in ["1e999", "-1e999", "1e400", "123456789e308"] {
        refused(with(&format!(r#""data":{{"n":{number}}}"#)), &[("/data", "json")]);
        refused(with(&format!(r#""n":{number}"#)), &[("/n", "json")]);
    }
    for number in ["1e308", "-0", "0.1", "1E+2", "5e-324", "1e-999"] {
        let json = with(&format!(r#""data":{{"n":{number}}}"#));
        assert_eq!(parse(&json).json(), json);
    }
}

#[test]
fn wide_integers_are_kept_in_data_and_refused_in_the_envelope() {
    for fits in ["18446744073709551615", "-9223372036854775808", "0", "1.0e30"] {
        parse(with(&format!(r#""count":{fits}"#)));
    }
    for wide in ["18446744073709551616", "-9223372036854775809", "123456789012345678901234567890"] {
        refused(with(&format!(r#""count":{wide}"#)), &[("/count", "limit")]);
        refused(with(&format!(r#""userId":{wide}"#)), &[("/userId", "limit")]);
        for data in [wide.to_owned(), format!("[{wide}]"), format!(r#"{{"n":{wide}}}"#)] {
            let json = with(&format!(r#""data":{data}"#));
            assert_eq!(parse(&json).json(), json);
        }
    }
    let exact = with(r#""data":{"n":9007199254740993}"#);
    assert_eq!(parse(&exact).value().unwrap()["data"]["n"].as_u64(), Some(9_007_199_254_740_993));
}

#[test]
fn bytes_that_are_no_utf_8_are_refused() {
    for bad in [&b"\xff"[..], b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe2\x82"] {
        let bytes = [br#"{"id":"e1"#, bad, format!(r#"",{LEAST}}}"#).as_bytes()].concat();
        refused(&bytes, &[("", "json")]);
        says(&bytes, "offset 9");
    }
    for surrogate in [r#""\ud800""#, r#""\udc00\ud800""#, r#""\ud800x""#] {
        assert_eq!(refusals(with_id(surrogate), &Limits::default()).len(), 1, "{surrogate}");
    }
    assert_eq!(parse(with_id(r#""\ud83d\ude00""#)).id(), "\u{1f600}");
}

#[test]
fn a_byte_order_mark_is_named() {
    let json = format!("\u{feff}{}", with_id(r#""e1""#));
    refused(&json, &[("", "json")]);
    says(&json, "byte order mark");
    let utf_16: Vec<u8> = with_id(r#""e1""#).encode_utf16().flat_map(u16::to_le_bytes).collect();
    refused(&utf_16, &[("", "json")]);
}

#[test]
fn what_follows_the_event_is_refused() {
    for tail in ["x", "{}", ",", "}", "\0", "//", "\u{a0}", "\n{\"id\":\"e2\"}"] {
        refused(with_id(r#""e1""#) + tail, &[("", "json")]);
    }
    parse(with_id(r#""e1""#) + " \t\r\n");
}

#[test]
fn what_is_no_object_is_refused() {
    for text in ["", " ", "{", "{}x", "{'id':1}", "{\"a\":1,}", "{\"a\"}", "{1:2}", "\0", "{]", "nul"] {
        refused(text, &[("", "json")]);
    }
    for text in ["[]", "1", "null", "\"event\"", "true"] {
        refused(text, &[("", "type")]);
    }
    says("{\"a\":", "too early");
    says("{\n \"a\": x}", "line 2");
    let all = ["id", "metadata", "source", "timestamp", "type", "version"].map(|name| format!("/{name}"));
    assert_eq!(refusals("{}", &Limits::default()), all.map(|pointer| (pointer, "required".to_owned())));
}

#[test]
fn names_have_1_to_128_bytes_counted_as_bytes() {
    let ascii = |bytes: usize| "x".repeat(bytes);
    let two_bytes_each = |bytes: usize| "é".repeat(bytes / 2) + &"x".repeat(bytes % 2);
    for fits in [ascii(1), ascii(128), two_bytes_each(128), "€".repeat(42)] {
        assert_eq!(parse(with_id(&format!("\"{fits}\""))).id(), fits);
        parse(with(&format!(r#""correlationId":"{fits}","causationId":"{fits}","userId":"{fits}""#)));
    }
    for wrong in [String::new(), ascii(129), two_bytes_each(129), two_bytes_each(130), "€".repeat(43)] {
        refused(with_id(&format!("\"{wrong}\"")), &[("/id", "limit")]);
        for member in ["correlationId", "causationId", "userId"] {
            refused(with(&format!(r#""{member}":"{wrong}""#)), &[(&format!("/{member}"), "limit")]);
        }
        for (member, value) in [("type", "t"), ("version", "1"), ("source", "s")] {
            let of = |value: &str| format!(r#""{member}":"{value}""#);
            refused(swapped(&of(value), &of(&wrong)), &[(&format!("/{member}"), "limit")]);
            parse(swapped(&of(value), &of(&ascii(128))));
        }
    }
    // The length of an escape is that of its decoded character.
    assert_eq!(parse(with_id(&format!("\"{}\"", r"\u0078".repeat(128)))).id(), ascii(128));
    refused(with_id(&format!("\"{}\"", r"\u00e9".repeat(65))), &[("/id", "limit")]);
}

#[test]
fn nul_is_refused_in_names_and_kept_in_data() {
    refused(with_id(r#""e\u00001""#), &[("/id", "limit")]);
    refused(with(r#""userId":"\u0000""#), &[("/userId", "limit")]);
    refused(with(r#""correlationId":"a\u0000""#), &[("/correlationId", "limit")]);
    refused(with_id("\"e\0\""), &[("", "json")]);
    let json = with(r#""data":{"text":"\u0000"}"#);
    assert_eq!(parse(&json).json(), json);
}

#[test]
fn an_event_of_exactly_the_limit_is_admitted_and_one_byte_more_is_not() {
    let of_size = |bytes: usize| {
        let empty = with(r#""data":"""#).len();
        with(&format!(r#""data":"{}""#, "x".repeat(bytes - empty)))
    };
    let limit = 1024 * 1024;
    assert_eq!(parse(of_size(limit)).size_bytes(), limit);
    refused(of_size(limit + 1), &[("", "limit")]);
    says(of_size(limit + 1), "1048577");
    // White space counts, because the store keeps it.
    refused(of_size(limit) + "\n", &[("", "limit")]);
    let small = Limits { max_event_bytes: 300, ..Limits::default() };
    assert_eq!(refusals(of_size(300), &small), []);
    assert_eq!(refusals(of_size(301), &small), [(String::new(), "limit".to_owned())]);
}

#[test]
fn metadata_is_an_object() {
    for metadata in ["[]", "\"\"", "0", "true"] {
        refused(swapped(r#""metadata":{}"#, &format!(r#""metadata":{metadata}"#)), &[("/metadata", "type")]);
    }
    refused(swapped(r#""metadata":{}"#, r#""metadata":null"#), &[("/metadata", "required")]);
    refused(swapped(r#","metadata":{}"#, ""), &[("/metadata", "required")]);
}

#[test]
fn null_counts_as_missing() {
    for (member, value) in [
        ("id", "e1"),
        ("type", "t"),
        ("version", "1"),
        ("source", "s"),
        ("timestamp", "2024-01-15T10:30:00Z"),
    ] {
        let null = swapped(&format!(r#""{member}":"{value}""#), &format!(r#""{member}": null"#));
        refused(null, &[(&format!("/{member}"), "required")]);
    }
    let event = parse(with(r#""correlationId":null,"causationId":null,"userId":null,"data":null"#));
    assert_eq!((event.correlation_id(), event.causation_id(), event.entities().len()), (None, None, 0));
}

#[test]
fn envelope_members_are_strings() {
    for value in ["1", "true", "[]", "{}", "[\"e1\"]", "1.5"] {
        refused(with_id(value), &[("/id", "type")]);
        refused(swapped(r#""type":"t""#, &format!(r#""type":{value}"#)), &[("/type", "type")]);
        refused(swapped(r#""2024-01-15T10:30:00Z""#, value), &[("/timestamp", "type")]);
        refused(with(&format!(r#""correlationId":{value}"#)), &[("/correlationId", "type")]);
        // The schema decides about the types of other members.
        assert_eq!(parse(with(&format!(r#""userId":{value},"other":{value}"#))).entities().len(), 0);
    }
}

#[test]
fn a_time_that_is_none_is_refused_for_its_reason() {
    for (time, reason) in [
        ("2024-01-15T23:59:60Z", "leap seconds"),
        ("2024-01-15T24:00:00Z", "00 to 23"),
        ("2024-02-30T00:00:00Z", "no such day"),
        ("2023-02-29T00:00:00Z", "no such day"),
        ("0000-01-01T00:00:00Z", "0001 to 9999"),
        ("9999-12-31T23:59:59-23:59", "0001 to 9999"),
        ("0001-01-01T00:00:00+00:01", "0001 to 9999"),
        ("0001-01-01T00:00:59.5+00:01", "0001 to 9999"),
        ("2024-01-15T10:30:00", "needs a zone"),
        ("2024-01-15", "looks like"),
        ("1705314600", "looks like"),
        ("", "looks like"),
        ("2024-01-15T10:30:00.1234567890Z", "nine digits"),
    ] {
        let json = swapped("2024-01-15T10:30:00Z", time);
        refused(&json, &[("/timestamp", "date-time")]);
        says(&json, reason);
    }
    let event = parse(swapped("2024-01-15T10:30:00Z", "2024-01-15T12:30:00.000000001+02:00"));
    assert_eq!(event.timestamp().to_string(), "2024-01-15T10:30:00.000000001Z");
    assert!(parse(swapped("10:30:00Z", r"10:30:00\u005a")).timestamp() < event.timestamp());
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_sorted() {
    let json =
        r#"{"id":"","type":7,"timestamp":"now","metadata":[],"userId":"\u0000","wide":99999999999999999999}"#;
    refused(
        json,
        &[
            ("/id", "limit"),
            ("/metadata", "type"),
            ("/source", "required"),
            ("/timestamp", "date-time"),
            ("/type", "type"),
            ("/userId", "limit"),
            ("/version", "required"),
            ("/wide", "limit"),
        ],
    );
    let document = Document::parse(json.as_bytes(), &Limits::default()).unwrap();
    assert_eq!((document.event_id(), document.event_type()), (Some(""), None));
}

#[test]
fn escapes_in_the_envelope_are_read_and_kept() {
    let json = r#"{"\u0069d":"a\u003ab\n\"\\\/","type":"\u0074","version":"1","timest\u0061mp":"2024-01-15T10:30:00Z",
        "source":"s\ud83d\ude00","metadata":{},"correlation\u0049d":"c\t","caus\u0061tionId":"d",
        "user\u0049d":"u","lab\u00c4Id":"l","target\"Id":"x","\/Id":"y"}"#;
    let event = parse(json);
    assert_eq!(event.json(), json);
    assert_eq!((event.id(), event.event_type(), event.source()), ("a:b\n\"\\/", "t", "s\u{1f600}"));
    assert_eq!((event.correlation_id(), event.causation_id()), (Some("c\t"), Some("d")));
    let entities: Vec<_> = event.entities().collect();
    assert_eq!(entities, [("user", "u"), ("labÄ", "l"), ("target\"", "x"), ("/", "y")]);
}

#[test]
fn odd_names_are_kept_as_they_are() {
    for odd in [
        ":",
        "{",
        "}",
        "{x}",
        "*",
        "?",
        "[",
        "a b",
        " ",
        "\u{9b}",
        "\u{202e}x",
        "\u{7f}",
        "<script>",
        "é",
        "e\u{301}",
        "123E4567-E89B-12D3-A456-426614174000",
        "{123e4567-e89b-12d3-a456-426614174000}",
    ] {
        let event = parse(with(&format!(r#""userId":"{odd}","{odd}Id":"{odd}""#)));
        assert_eq!(event.entities().collect::<Vec<_>>(), [("user", odd), (odd, odd)]);
        assert_eq!(parse(with_id(&format!("\"{odd}\""))).id(), odd);
    }
    // Control characters must be escaped.
    assert_eq!(parse(with_id(r#""\r\n\u001b[31m\\""#)).id(), "\r\n\u{1b}[31m\\");
    refused(with_id("\"\u{1b}\""), &[("", "json")]);
    refused(with_id("\"a\r\nb\""), &[("", "json")]);
}

#[test]
fn white_space_may_stand_wherever_json_lets_it() {
    let json = " \r\n\t{ \"metadata\" :\r\n{ } ,\n\"source\"\t: \"s\" , \"timestamp\":\r\"2024-01-15T10:30:00Z\" ,\
                \"version\" : \"1\",\"type\"\n:\n\"t\" , \"id\" : \"e1\" }\r\n\r\n";
    let event = parse(json);
    assert_eq!(event.json(), json);
    assert_eq!((event.id(), event.source(), event.event_type()), ("e1", "s", "t"));
    refused(json.replace("{ }", "{\u{b}}"), &[("", "json")]);
}

#[test]
fn only_top_level_strings_whose_name_ends_in_id_are_entities() {
    let event = parse(with(
        r#""userId":"u","Id":"x","id2":"x","userid":"x","UserID":"x","data":{"labId":"x"},
           "courseId":{"id":"x"},"correlationId":"c","causationId":"d","ID":"x","_Id":"y""#,
    ));
    assert_eq!(event.entities().collect::<Vec<_>>(), [("user", "u"), ("_", "y")]);
    let kind = "k".repeat(128);
    assert_eq!(parse(with(&format!(r#""{kind}Id":"x""#))).entities().next(), Some((kind.as_str(), "x")));
    refused(with(&format!(r#""{kind}kId":"x""#)), &[("", "limit")]);
}

#[test]
fn an_event_of_as_many_entities_as_fit_comes_back_from_its_head() {
    let many: Vec<String> = (0..70_000).map(|n| format!(r#""{n:x}Id":"x""#)).collect();
    let event = parse(with(&many.join(",")));
    assert_eq!(event.entities().len(), 70_000);
    let again = head::decode(event.json(), &head::encode(&event)).unwrap();
    assert!(again.entities().eq(event.entities()));
}

/// Returns the envelope of an event, without its bytes.
fn envelope(event: &Event) -> impl PartialEq + std::fmt::Debug {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let entities: Vec<_> = event.entities().map(|(kind, id)| (kind.to_owned(), id.to_owned())).collect();
    let names = [event.id(), event.event_type(), event.version(), event.source()].map(str::to_owned);
    (names, event.timestamp(), owned(event.correlation_id()), owned(event.causation_id()), entities)
}

/// Returns valid texts of all kinds, including characters that JSON escapes.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![r#"[a-z:{}*?\[\\"/\r\n\x1b\u{202e}é€😀]{1,12}"#, "[^\0]{1,20}"]
}

/// Returns a text as JSON, in one of three spellings.
fn spelled(text: &str, way: u8) -> String {
    let plain = serde_json::to_string(text).unwrap();
    match way {
        0 => plain,
        1 => format!("\"{}\"", text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>()),
        _ => plain.replace('/', "\\/").replace('e', "\\u0065"),
    }
}

/// Returns bytes that are nearly an event: pieces of an event, in any order and number.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u00",
        "null",
        "true",
        "1e999",
        "-",
        "0",
        "NaN",
        "\"id\":\"e\"",
        "\"type\":\"t\"",
        "\"metadata\":{}",
        "\"timestamp\":\"2024-01-15T10:30:00Z\"",
        "\"source\":\"s\"",
        "\"version\":\"1\"",
        "\"userId\":\"u\"",
        "\"\\u0069d\":\"\\ud800\"",
        "\r\n",
        " ",
        "\0",
        "\u{feff}",
        "é",
    ]);
    let piece = prop_oneof![
        6 => known.prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn is_an_event_or_a_violation(bytes: &[u8]) {
    let Ok(document) = Document::parse(bytes, &Limits::default()) else { return };
    match document.into_event() {
        Ok(event) => assert_eq!(event.json().as_bytes(), bytes),
        Err(violations) => assert!(!violations.is_empty() && violations.is_sorted()),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_a_violation(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        is_an_event_or_a_violation(&bytes);
    }

    #[test]
    fn any_pieces_of_an_event_are_an_event_or_a_violation(bytes in pieces()) {
        is_an_event_or_a_violation(&bytes);
    }

    #[test]
    fn any_change_of_an_event_is_an_event_or_a_violation(at: prop::sample::Index, byte: u8, cut: bool) {
        let mut bytes = with(r#""userId":"ü\u0031","data":{"a":[1,2.5,{"b":null}]}"#).into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        is_an_event_or_a_violation(&bytes);
    }

    #[test]
    fn a_head_brings_back_any_event(
        names in prop::collection::vec((name(), 0u8..3), 6),
        entities in prop::collection::btree_map("[a-z*\\\\\"é]{1,8}", (name(), 0u8..3), 0..4),
        nanosecond in 0u32..1_000_000_000,
    ) {
        let text = |at: usize| spelled(&names[at].0, names[at].1);
        let mut json = format!(
            r#"{{"id":{},"type":{},"version":{},"source":{},"correlationId":{},"causationId":{},"metadata":{{}}"#,
            text(0), text(1), text(2), text(3), text(4), text(5),
        );
        json.push_str(&format!(r#","timestamp":"2024-01-15T10:30:00.{nanosecond:09}Z""#));
        for (kind, (id, way)) in &entities {
            json.push_str(&format!(",{}:{}", spelled(&format!("{kind}Id"), *way), spelled(id, *way)));
        }
        json.push('}');
        let event = parse(&json);
        prop_assert_eq!(event.id(), &names[0].0);
        prop_assert_eq!(event.causation_id(), Some(names[5].0.as_str()));
        let found: Vec<_> = event.entities().collect();
        let expected: Vec<_> = entities.iter().map(|(kind, (id, _))| (kind.as_str(), id.as_str())).collect();
        prop_assert_eq!(found, expected);
        let again = head::decode(event.json(), &head::encode(&event)).unwrap();
        prop_assert_eq!(envelope(&again), envelope(&event));
        prop_assert_eq!(again.json(), &json);
    }

    #[test]
    fn any_bytes_are_a_head_or_an_error(json in ".{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        // Only a checksum that matches by chance would make these bytes a head.
        prop_assert!(head::decode(&json, &bytes).is_err());
    }
}
