//! CloudEvents over HTTP: the sentences with MUST of the HTTP binding and of the JSON format, version 1.0.2.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use axum::body::Body;
use common::{Reply, Service};
use event_replay::{Settings, UnknownTypes};
use event_replay_server::ServeOptions;
use http::Request;
use serde_json::{Value, json};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
/// Numbers that a double cannot represent, unusual Unicode, and unsorted members.
const DATA: &str = r#"{"b":1.10,"a":123456789012345678901234567890,"c":"\u00e4é\ud83d\ude00","d":1e2}"#;

/// Starts a server that accepts events of any type.
async fn accepting_all() -> Service {
    let accept = |settings: &mut Settings| settings.unknown_types = UnknownTypes::Accept;
    Service::set(tempfile::tempdir().unwrap(), ServeOptions::default(), accept).await
}

fn event(id: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/shop/orders","type":"order.placed","time":"2024-01-15T10:30:00Z","userid":"u1","correlationid":"wf-7","subject":"orders/7","tries":3,"is1st":true,"data":{DATA}}}"#
    )
}

/// Sends a request in binary mode. `headers` adds or replaces headers.
async fn binary(service: &Service, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
    let mut request = Request::post(service.url("/v1/events"));
    let given = [
        ("ce-specversion", "1.0"),
        ("ce-id", "b1"),
        ("ce-source", "/shop"),
        ("ce-type", "order.placed"),
        ("ce-time", "2024-01-15T10:30:00Z"),
    ];
    let is_replaced = |name: &str| headers.iter().any(|(other, _)| *other == name);
    for (name, value) in given.iter().filter(|(name, _)| !is_replaced(name)).chain(headers) {
        if !value.is_empty() {
            request = request.header(*name, *value);
        }
    }
    service.send(request.body(body.into()).unwrap()).await
}

async fn accepting(service: &Service, path: &str, media: &str) -> Reply {
    service.send(Request::get(service.url(path)).header("accept", media).body(Body::empty()).unwrap()).await
}

/// Returns the stored event with an id, as text and as JSON.
async fn stored(service: &Service, id: &str) -> (String, Value) {
    let reply = service.get(&format!("/v1/events/{id}")).await.is(200);
    (reply.text(), reply.json()["events"][0]["event"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structured_event_becomes_one_of_ours_and_comes_back() {
    let service = accepting_all().await;
    let first = service.post("/v1/events", STRUCTURED, event("s1")).await.is(201).json();
    assert_eq!((&first["stored"], &first["position"]), (&json!(1), &json!("0:1")), "{first}");
    service.post("/v1/events", &format!("{STRUCTURED}; charset=utf-8"), event("s1")).await.is(200);
    let (text, own) = stored(&service, "s1").await;
    assert!(text.contains(&format!("\"data\":{DATA}")), "{text}");
    for (member, value) in [
        ("id", json!("s1")),
        ("source", json!("/shop/orders")),
        ("type", json!("order.placed")),
        ("version", json!("1.0")),
        ("timestamp", json!("2024-01-15T10:30:00Z")),
        ("userId", json!("u1")),
        ("correlationId", json!("wf-7")),
        ("subject", json!("orders/7")),
        ("tries", json!(3)),
        ("is1st", json!(true)),
        ("metadata", json!({})),
    ] {
        assert_eq!(own[member], value, "{member}: {own}");
    }
    assert!(own.get("specversion").is_none(), "{own}");
    let found = service.get("/v1/events?userId=u1&correlationId=wf-7").await.is(200).json();
    assert_eq!(common::ids(&found["events"]), ["s1"]);
    // The response has the same attributes, and the same bytes of data.
    let reply = accepting(&service, "/v1/events/s1", STRUCTURED).await.is(200);
    assert_eq!(reply.headers["content-type"], STRUCTURED);
    assert!(reply.text().contains(&format!("\"data\":{DATA}")), "{}", reply.text());
    let mut back = reply.json();
    assert_eq!(back["version"].take(), "1.0");
    back.as_object_mut().unwrap().remove("version");
    assert_eq!(back, serde_json::from_str::<Value>(&event("s1")).unwrap());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_published_and_read_as_one() {
    let service = accepting_all().await;
    let body = format!("[{},{}]", event("a"), event("b"));
    let report = service.post("/v1/events", BATCH, body.clone()).await.is(201).json();
    assert_eq!(report["stored"], 2, "{report}");
    service.post("/v1/events", BATCH, body).await.is(200);
    service.post("/v1/events", BATCH, "[]").await.problem(400, "bad-request");
    let reply = accepting(&service, "/v1/events?order=asc&limit=1", BATCH).await.is(200);
    assert_eq!(reply.headers["content-type"], BATCH);
    assert!(reply.headers["link"].to_str().unwrap().contains("rel=\"next\""));
    let ids: Vec<Value> = reply.json().as_array().unwrap().iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids, ["a"]);
    // A client that does not ask for a batch gets none.
    assert_eq!(service.get("/v1/events").await.is(200).headers["content-type"], "application/json");
    service.stop().await;
}

/// An invalid CloudEvent is reported by its place in the batch, as a line that is no event. The others are stored.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_event_of_a_batch_does_not_refuse_the_others() {
    let service = accepting_all().await;
    let text = r#"{"specversion":"1.0","id":"t","source":"s","type":"x.y","datacontenttype":"text/plain","data":{}}"#;
    let versionless = r#"{"id":"v","type":"x.y","source":"s"}"#;
    let ambiguous = r#"{"specversion":"1.0","id":"m","source":"s","type":"x.y","eventmembers":"no JSON"}"#;
    let batch = |first: &str, last: &str| {
        format!("[{},{versionless},7,{text},{ambiguous},{}]", event(first), event(last))
    };
    let problem = service.post("/v1/events", BATCH, batch("a", "b")).await.problem(422, "rejected");
    assert_eq!((&problem["stored"], &problem["rejected"]), (&json!(2), &json!(4)), "{problem:#}");
    let errors = problem["errors"].as_array().unwrap();
    let places: Vec<(&Value, &Value, &Value)> =
        errors.iter().map(|error| (&error["line"], &error["eventId"], &error["type"])).collect();
    let named = [json!("v"), json!("t"), json!("m")];
    let (none, kind) = (json!(null), json!("x.y"));
    let lines: Vec<Value> = (2..=5).map(|line| json!(line)).collect();
    assert_eq!(
        places,
        [
            (&lines[0], &named[0], &kind),
            (&lines[1], &none, &none),
            (&lines[2], &named[1], &kind),
            (&lines[3], &named[2], &kind),
        ],
        "{problem:#}"
    );
    for (error, said) in errors.iter().zip(["no specversion", "a JSON object", "text/plain", "eventmembers"])
    {
        let violation = &error["violations"][0];
        assert_eq!(
            (&violation["rule"], &violation["pointer"]),
            (&json!("cloudevent"), &json!("")),
            "{error}"
        );
        assert!(violation["message"].as_str().unwrap().contains(said), "{said}: {error}");
    }
    // The report has the members of the report on lines.
    let line = service.publish(&["{".to_owned()]).await.problem(422, "rejected");
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&line), members(&problem));
    assert_eq!(members(&line["errors"][0]), members(&errors[0]));
    // The valid events are stored, and a repeat stores nothing twice.
    let report = service.post("/v1/events?partial=ok", BATCH, batch("a", "b")).await.is(200).json();
    assert_eq!((&report["alreadyStored"], &report["rejected"]), (&json!(2), &json!(4)), "{report}");
    let report = service.post("/v1/events?partial=ok&delay=1h", BATCH, batch("c", "d")).await.is(200).json();
    assert_eq!((&report["scheduled"], &report["rejected"]), (&json!(2), &json!(4)), "{report}");
    let lines: Vec<&Value> =
        report["errors"].as_array().unwrap().iter().map(|error| &error["line"]).collect();
    assert_eq!(lines, [2, 3, 4, 5], "{report}");
    let problem = service.post("/v1/events?atomic=true", BATCH, batch("e", "f")).await;
    let problem = problem.problem(422, "rejected");
    assert_eq!((&problem["stored"], &problem["notStored"]), (&json!(0), &json!(2)), "{problem:#}");
    service.get("/v1/events/e").await.problem(404, "not-found");
    for body in ["[{]", "{}", "7"] {
        service.post("/v1/events", BATCH, body).await.problem(400, "bad-request");
    }
    service.stop().await;
}

/// Publishes the CloudEvent of an event in each mode, as the server returns it. It is the stored event every time.
async fn is_known_in_every_mode(service: &Service, id: &str) {
    let path = format!("/v1/events/{id}");
    let structured = accepting(service, &path, STRUCTURED).await.is(200);
    let again = service.post("/v1/events", STRUCTURED, structured.text()).await;
    assert_eq!(again.status, 200, "{id}: {}: {}", structured.text(), again.text());
    let batch = format!("[{}]", structured.text());
    assert_eq!(service.post("/v1/events", BATCH, batch).await.status, 200, "{id}: {}", structured.text());
    let reply = service.get(&format!("{path}?cloudevent=binary")).await;
    assert!(reply.status.is_success(), "{id}: {}", reply.text());
    let mut request = Request::post(service.url("/v1/events"));
    for (name, value) in &reply.headers {
        if name.as_str().starts_with("ce-") || name == "content-type" {
            request = request.header(name, value);
        }
    }
    let again = service.send(request.body(Body::from(reply.body.clone())).unwrap()).await;
    assert_eq!(again.status, 200, "{id}: {:?} {}: {}", reply.headers, reply.text(), again.text());
}

/// However an event was published, its CloudEvent is the same event in each mode.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_recognised_in_every_mode() {
    let service = accepting_all().await;
    // Members beside the required attributes, and whether the data is text that the binary mode returns.
    let structured = [
        r#""data":{"n":1.10}"#,
        r#""datacontenttype":"application/json","data":{"n":1.10}"#,
        r#""datacontenttype":"application/json; charset=utf-8","data":[]"#,
        r#""datacontenttype":"application/vnd.x+json","data":{}"#,
        r#""data":null"#,
        r#""data":"text""#,
        r#""datacontenttype":"application/json","data":null"#,
        r#""datacontenttype":"application/json""#,
        r#""datacontenttype":"application/json","data_base64":"eyJhIjoxfQ==""#,
        r#""datacontenttype":"text/plain","data":"h\u00e9llo \"q\"\n""#,
        r#""datacontenttype":"text/plain","data":"a\u0001b""#,
        r#""datacontenttype":"text/plain","data":"""#,
        r#""datacontenttype":"text/plain","data":null"#,
        r#""datacontenttype":"text/plain""#,
        r#""datacontenttype":"text/plain","data_base64":"aGVsbG8=""#,
        r#""datacontenttype":"text/xml; charset=x","data":"<a/>""#,
        r#""datacontenttype":"image/png","data_base64":"iVBORw0KGgo=""#,
        r#""datacontenttype":"application/cloudevents+json","data":{}"#,
        r#""data_base64":"AP8=""#,
        r#""data_base64":"MTIz""#,
        r#""data_base64":"""#,
        r#""tries":3,"is1st":true,"low":-1,"subject":"Euro € 😀","userid":"u 1","targetuserid":"t""#,
        r#""correlationid":"c","causationid":"k","version":"7","eventmetadata":"{\"a\":[1.10]}""#,
        r#""eventmembers":"{\"Odd Name\":1.10}","data":1"#,
    ];
    for (n, members) in structured.iter().enumerate() {
        let id = format!("s{n}");
        let text = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"a.b","time":"2024-01-15T10:30:00Z",{members}}}"#
        );
        assert_eq!(service.post("/v1/events", STRUCTURED, text.clone()).await.status, 201, "{text}");
        assert_eq!(service.post("/v1/events", STRUCTURED, text.clone()).await.status, 200, "{text}");
        is_known_in_every_mode(&service, &id).await;
    }
    let bodies: [(&str, &[u8]); 8] = [
        ("application/json", br#" {"n":1.10} "#),
        ("", b"{\"n\":1.10}"),
        ("", b"\x00\xff"),
        ("", b"no JSON"),
        ("text/plain", "héllo".as_bytes()),
        ("text/plain", b"\x00\xff"),
        ("application/octet-stream", b"a\x00b"),
        ("text/plain", b""),
    ];
    for (n, (media, body)) in bodies.iter().enumerate() {
        let id = format!("b{n}");
        let headers = [("ce-id", id.as_str()), ("content-type", *media), ("ce-tries", "3")];
        binary(&service, &headers, body.to_vec()).await.is(201);
        is_known_in_every_mode(&service, &id).await;
    }
    let native = [
        r#""data":{"n":1.10}"#,
        r#""datacontenttype":"application/json","data":{}"#,
        r#""datacontenttype":"text/plain","data":{}"#,
        r#""datacontenttype":"text/plain","data":"a\u0000b""#,
        r#""datacontenttype":"text/plain","data":"""#,
        r#""datacontenttype":"text/plain","data_base64":"aGVsbG8=""#,
        r#""datacontenttype":"application/json","data_base64":"e30=""#,
        r#""datacontenttype":"application/json","data_base64":"AP8=""#,
        r#""datacontenttype":"text/plain ","data":"text""#,
        r#""datacontenttype":"é","data":1"#,
        r#""datacontenttype":"application/cloudevents+json","data":1"#,
        r#""data_base64":"MTIz""#,
        r#""data_base64":"""#,
        r#""data_base64":"MTIz","data":{}"#,
        r#""data_base64":null,"data":null"#,
        r#""correlationId":null,"causationId":null,"userId":null,"subject":null"#,
        r#""Time":"noon","CorrelationID":"x","correlationId":"c""#,
        r#""paymentId":"p","PaymentID":"q","nested":{"a":1},"count":7,"flag":false,"float":1.10"#,
    ];
    for (n, members) in native.iter().enumerate() {
        let id = format!("n{n}");
        let text = format!(
            r#"{{"id":"{id}","type":"a.b","version":"1.0","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}},{members}}}"#
        );
        let reply = service.post("/v1/events", "application/json", text.clone()).await;
        assert_eq!(reply.status, 201, "{text}: {}", reply.text());
        is_known_in_every_mode(&service, &id).await;
    }
    let events = structured.len() + bodies.len() + native.len();
    let all = accepting(&service, "/v1/events?limit=1000", BATCH).await.is(200);
    assert_eq!(all.json().as_array().unwrap().len(), events);
    let report = service.post("/v1/events", BATCH, all.body).await.is(200).json();
    assert_eq!((&report["alreadyStored"], &report["rejected"]), (&json!(events), &json!(0)), "{report}");
    service.stop().await;
}

/// The implied media type of data in a JSON document is the type that the binary mode names.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_published_in_one_mode_is_known_in_the_others() {
    let service = accepting_all().await;
    let json_type = ("content-type", "application/json");
    let text = |id: &str, more: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/shop","type":"order.placed","time":"2024-01-15T10:30:00Z"{more},"data":{DATA}}}"#
        )
    };
    service.post("/v1/events", STRUCTURED, text("e1", "")).await.is(201);
    binary(&service, &[json_type, ("ce-id", "e1")], DATA).await.is(200);
    binary(&service, &[("ce-id", "e1")], DATA).await.is(200);
    service
        .post("/v1/events", STRUCTURED, text("e1", r#","datacontenttype":"application/json""#))
        .await
        .is(200);
    binary(&service, &[json_type, ("ce-id", "e2")], DATA).await.is(201);
    service.post("/v1/events", BATCH, format!("[{}]", text("e2", ""))).await.is(200);
    let reply = service.get("/v1/events/e1?cloudevent=binary").await.is(200);
    assert_eq!(
        (reply.text().as_str(), &reply.headers["content-type"]),
        (DATA, &json_type.1.parse().unwrap())
    );
    // Another media type is another event.
    binary(&service, &[("content-type", "application/x+json"), ("ce-id", "e1")], DATA)
        .await
        .problem(409, "conflict");
    // Bytes without a media type are not JSON, and the response names no type.
    let bytes = r#"{"specversion":"1.0","id":"e3","source":"/shop","type":"a.b","data_base64":"AP8="}"#;
    service.post("/v1/events", STRUCTURED, bytes).await.is(201);
    let reply = service.get("/v1/events/e3?cloudevent=binary").await.is(200);
    assert_eq!(reply.body, b"\x00\xff");
    assert!(!reply.headers.contains_key("content-type"), "{:?}", reply.headers);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_event_has_its_attributes_in_headers() {
    let service = accepting_all().await;
    let json_type = ("content-type", "application/json");
    let odd = [json_type, ("ce-subject", "Euro%20%E2%82%AC %F0%9F%98%80"), ("ce-userid", "\"u \\\"1\\\"\"")];
    binary(&service, &odd, DATA).await.is(201);
    let (text, own) = stored(&service, "b1").await;
    assert!(text.contains(&format!("\"data\":{DATA}")), "{text}");
    assert_eq!((&own["subject"], &own["userId"]), (&json!("Euro € 😀"), &json!("u \"1\"")), "{own}");
    let reply = service.get("/v1/events/b1?cloudevent=binary").await.is(200);
    assert_eq!(reply.text(), DATA);
    for (name, value) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "b1"),
        ("ce-type", "order.placed"),
        ("ce-time", "2024-01-15T10:30:00Z"),
        ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("ce-userid", "u%20%221%22"),
    ] {
        assert_eq!(reply.headers[name], value, "{name}");
    }
    assert!(!reply.headers.contains_key("ce-datacontenttype"));
    service.stop().await;
}

/// Data that is not JSON, and an event without data.
#[tokio::test(flavor = "multi_thread")]
async fn any_data_comes_back_as_its_bytes() {
    let service = accepting_all().await;
    let bytes = b"\x00\xff<xml/>\r\n".to_vec();
    binary(&service, &[("content-type", "text/xml; charset=x"), ("ce-id", "xml")], bytes.clone())
        .await
        .is(201);
    let reply = service.get("/v1/events/xml?cloudevent=binary").await.is(200);
    assert_eq!(
        (reply.body, &reply.headers["content-type"]),
        (bytes.clone(), &"text/xml; charset=x".parse().unwrap())
    );
    let back = service.get("/v1/events/xml?cloudevent=structured").await.is(200).json();
    assert_eq!(back["datacontenttype"], "text/xml; charset=x", "{back}");
    let again = service.post("/v1/events", STRUCTURED, back.to_string()).await;
    again.is(200);
    binary(&service, &[("ce-id", "none")], "").await.is(201);
    let reply = service.get("/v1/events/none?cloudevent=binary").await.is(204);
    assert!(reply.body.is_empty() && !reply.headers.contains_key("content-type"));
    let back = service.get("/v1/events/none?cloudevent=structured").await.is(200).json();
    assert!(back.get("data").is_none() && back.get("data_base64").is_none(), "{back}");
    for (id, data) in [("null", "null"), ("text", "\"a\""), ("number", "1.10"), ("list", "[1]")] {
        binary(&service, &[("ce-id", id), ("content-type", "application/x+json")], data).await.is(201);
        assert_eq!(service.get(&format!("/v1/events/{id}?cloudevent=binary")).await.is(200).text(), data);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_a_time_stays_the_same_event() {
    let service = accepting_all().await;
    let text = r#"{"specversion":"1.0","id":"t1","source":"s","type":"x.y","data":{}}"#;
    service.post("/v1/events", STRUCTURED, text).await.is(201);
    service.post("/v1/events", STRUCTURED, text).await.is(200);
    let other = text.replace("{}", "{\"a\":1}");
    let problem = service.post("/v1/events", STRUCTURED, other).await.problem(409, "conflict");
    assert!(problem["hint"].as_str().unwrap().contains("id=source+id"), "{problem}");
    service.stop().await;
}

/// The identity of a CloudEvent is the pair of its source and its id.
#[tokio::test(flavor = "multi_thread")]
async fn two_sources_may_use_one_id_where_the_source_is_a_part_of_it() {
    let service = accepting_all().await;
    let of = |source: &str| event("1").replace("/shop/orders", source);
    service.post("/v1/events", STRUCTURED, of("a")).await.is(201);
    service.post("/v1/events", STRUCTURED, of("b")).await.problem(409, "conflict");
    service.post("/v1/events?id=source%2Bid", STRUCTURED, of("b")).await.is(201);
    service.post("/v1/events?id=source%2Bid", STRUCTURED, of("b")).await.is(200);
    assert_eq!(stored(&service, "b%231").await.1["source"], "b");
    service.post("/v1/events?id=other", STRUCTURED, of("c")).await.problem(400, "bad-parameter");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cloudevent_is_refused_with_the_reason() {
    let service = accepting_all().await;
    for (replaced, by, said) in [
        (r#""specversion":"1.0""#, r#""specversion":"0.3""#, "is understood"),
        (r#""specversion":"1.0","#, "", "no specversion"),
        (r#""subject""#, r#""Subject""#, "no name of an attribute"),
        (r#""subject""#, r#""sub_ject""#, "no name of an attribute"),
        (r#""subject":"orders/7""#, r#""subject":{"a":1}"#, "is not a string"),
        (r#""tries":3"#, r#""tries":3.5"#, "is not a string"),
        (r#""tries":3"#, r#""tries":4294967296"#, "is not a string"),
        (r#""tries":3"#, r#""subject":"x""#, "occurs twice"),
        (r#""tries":3"#, r#""data_base64":"AA==""#, "both data and data_base64"),
        (r#""tries":3"#, r#""timestamp":"x""#, "cannot have the name"),
        (r#""tries":3"#, r#""metadata":"x""#, "cannot have the name"),
        (r#""tries":3"#, r#""datacontenttype":5"#, "is not a string"),
        (r#""tries":3"#, r#""datacontenttype":"text/plain""#, "must be a JSON string"),
        (r#""tries":3"#, r#""datacontenttype":"text/plain; a=json""#, "must be a JSON string"),
    ] {
        let body = event("x").replacen(replaced, by, 1);
        let problem = service.post("/v1/events", STRUCTURED, body).await.problem(400, "bad-request");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{said}: {problem}");
    }
    // Admission reports missing attributes together with all other violations.
    let body = r#"{"specversion":"1.0","id":"","type":"x.y"}"#;
    let problem = service.post("/v1/events", STRUCTURED, body).await.problem(422, "rejected");
    let pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert!(pointers.contains(&"/id") && pointers.contains(&"/source"), "{problem}");
    for (headers, said) in [
        (("ce-subject", "%C0%A0"), "not UTF-8"),
        (("ce-datacontenttype", "text/plain"), "Content-Type"),
        (("ce-specversion", "2.0"), "is understood"),
        (("ce-sub_ject", "x"), "no name of an attribute"),
    ] {
        let problem = binary(&service, &[headers], "{}").await.problem(400, "bad-request");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{said}: {problem}");
    }
    let twice = [("ce-subject", "a"), ("ce-subject", "a")];
    let problem = binary(&service, &twice, "{}").await.problem(400, "bad-request");
    assert!(problem["detail"].as_str().unwrap().contains("occurs twice"), "{problem}");
    binary(&service, &[("content-type", "application/json")], "{").await.problem(400, "bad-request");
    let text = r#"{"specversion":"1.0","id":"x","source":"s","type":"a.b","datacontenttype":"application/json","data_base64":"AP8="}"#;
    let problem = service.post("/v1/events", STRUCTURED, text).await.problem(400, "bad-request");
    assert!(problem["detail"].as_str().unwrap().contains("its data is not JSON"), "{problem}");
    service.post("/v1/events", "application/cloudevents+avro", "x").await.problem(415, "unsupported-media");
    assert_eq!(service.get("/v1/events").await.is(200).json()["events"], json!([]));
    service.stop().await;
}

/// An event that was published in the native format survives the conversion to a CloudEvent and back, with all its
/// members.
#[tokio::test(flavor = "multi_thread")]
async fn every_event_survives_the_way_through_a_cloudevent() {
    let service = accepting_all().await;
    let own = r#"{"id":"own","type":"x.y","version":"2","timestamp":"2024-01-15T10:30:00.123456789+01:00","source":"s","correlationId":"c","causationId":"k","userId":"u","targetUserId":"t","metadata":{"a":[1.10]},"Odd Name":"x","nested":{"z":1},"big":12345678901,"flag":true,"data":{"n":1.10}}"#;
    service.post("/v1/events", "application/json", own).await.is(201);
    let back = service.get("/v1/events/own?cloudevent=structured").await.is(200);
    for name in back.json().as_object().unwrap().keys() {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        assert!(is_plain, "{name}");
    }
    assert_eq!((&back.json()["targetuserid"], &back.json()["userid"]), (&json!("t"), &json!("u")));
    // In another store the event is equal, although no setting there names its entities.
    let other = accepting_all().await;
    other.post("/v1/events", STRUCTURED, back.body).await.is(201);
    assert_eq!(stored(&other, "own").await.1, serde_json::from_str::<Value>(own).unwrap());
    let reply = service.get("/v1/events/own?cloudevent=binary").await.is(200);
    assert_eq!(reply.text(), r#"{"n":1.10}"#);
    service.stop().await;
    other.stop().await;
}

/// Members of an event with the names of attributes that say something else are not written as these attributes.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_named_like_an_attribute_is_not_taken_for_it() {
    let service = accepting_all().await;
    let members = [
        (r#""specversion":"9""#, "specversion"),
        (r#""time":"noon""#, "time"),
        (r#""eventmetadata":"q""#, "eventmetadata"),
        (r#""eventmembers":"q""#, "eventmembers"),
        (r#""data_base64":"zz""#, "data_base64"),
        (r#""data_base64":"YWJj","data":1"#, "data_base64"),
        (r#""datacontenttype":5"#, "datacontenttype"),
        (r#""datacontenttype":"text/\u0000""#, "datacontenttype"),
    ];
    for (n, (member, name)) in members.iter().enumerate() {
        let id = format!("m{n}");
        let event = format!(
            r#"{{"id":"{id}","type":"a.b","version":"1.0","timestamp":"2024-01-15T10:30:00Z","source":"svc","metadata":{{"m":1}},"userId":"u",{member}}}"#
        );
        service.post("/v1/events", "application/json", event).await.is(201);
        let path = format!("/v1/events/{id}");
        let structured = accepting(&service, &path, STRUCTURED).await.is(200);
        let document = structured.json();
        assert_eq!(
            (&document["specversion"], &document["time"]),
            (&json!("1.0"), &json!("2024-01-15T10:30:00Z"))
        );
        assert_eq!(
            structured.text().matches(&format!("\"{name}\":")).count(),
            usize::from(document.get(name).is_some())
        );
        is_known_in_every_mode(&service, &id).await;
    }
    service.stop().await;
}

/// Data of a media type that is not JSON is a string in a document, and its characters in a body. The type is kept without data, too.
#[tokio::test(flavor = "multi_thread")]
async fn text_is_a_string_in_a_document_and_its_characters_in_a_body() {
    let service = accepting_all().await;
    let text = r#"{"specversion":"1.0","id":"t1","source":"s","type":"a.b","time":"2024-01-15T10:30:00Z","datacontenttype":"text/plain","data":"h\u00e9llo \"q\"\n"}"#;
    service.post("/v1/events", STRUCTURED, text).await.is(201);
    let reply = service.get("/v1/events/t1?cloudevent=binary").await.is(200);
    assert_eq!(
        (reply.text().as_str(), &reply.headers["content-type"]),
        ("héllo \"q\"\n", &"text/plain".parse().unwrap())
    );
    binary(&service, &[("ce-id", "t2"), ("content-type", "text/plain")], "").await.is(201);
    let reply = service.get("/v1/events/t2?cloudevent=binary").await.is(200);
    assert_eq!((reply.body.len(), &reply.headers["content-type"]), (0, &"text/plain".parse().unwrap()));
    let document = accepting(&service, "/v1/events/t2", STRUCTURED).await.is(200).json();
    assert_eq!((&document["datacontenttype"], document.get("data")), (&json!("text/plain"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_no_cloudevent_has_do_not_fail_the_server() {
    let service = Service::new().await;
    let odd = |id: &str, members: &str| {
        format!(
            r#"{{"id":"{id}","type":"x.y","version":"1.0","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}},{members}}}"#
        )
    };
    let events = [
        odd("media", r#""data":1,"datacontenttype":"a\u0007b""#),
        odd("number", r#""data_base64":5"#),
        odd("text", r#""data_base64":"!!","specversion":3"#),
    ];
    let path = "/v1/events?unknownTypes=accept";
    service.post(path, "application/x-ndjson", events.join("\n")).await.is(201);
    service.get("/v1/events/media?cloudevent=binary").await.is(200);
    let number = service.get("/v1/events/number?cloudevent=structured").await.is(200).json();
    assert_eq!(number["eventmembers"], r#"{"data_base64":5}"#, "{number}");
    let text = service.get("/v1/events/text?cloudevent=structured").await.is(200).json();
    assert_eq!(text["eventmembers"], r#"{"data_base64":"!!","specversion":3}"#, "{text}");
    assert_eq!(text["specversion"], "1.0", "{text}");
    let batch = Request::get(service.url("/v1/events")).header("accept", BATCH).body(Body::empty()).unwrap();
    assert_eq!(service.send(batch).await.is(200).json().as_array().map(Vec::len), Some(3));
    service.stop().await;
}
