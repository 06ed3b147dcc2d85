//! `serve`. A request over HTTP has the same answer as the command line.
#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout},
};

use common::{Bench, registered, some};
use serde_json::{Value, json};

/// A running server.
struct Served {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Served {
    fn start(bench: &Bench, flags: &[&str]) -> Self {
        let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
        args.extend(flags);
        let mut child = bench.command(&args).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, stdout, address }
    }

    /// Sends one request on a new connection, and returns the status and the body.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = body.map(Value::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, None);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let (status, text) = self.ask("POST", path, Some(body));
        assert!((200..300).contains(&status), "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Sends a signal, and waits for the end. Returns the exit code and stderr.
    fn end(mut self) -> (i32, String) {
        let kill = std::process::Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(kill.unwrap().success());
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), stderr)
    }
}

/// A test that fails leaves no server.
impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_serves_until_it_is_told_to_end() {
    let bench = Bench::new();
    let served = Served::start(&bench, &[]);
    assert_eq!(served.ask("GET", "/readyz", None), (200, "ok\n".to_owned()));
    assert_eq!(
        served.post(
            "/v1/events",
            &serde_json::from_str(&registered("e1", "u1", "2024-01-15T10:30:00Z")).unwrap()
        )["stored"],
        1
    );
    let (code, stderr) = served.end();
    assert_eq!(code, 0, "{stderr}");
    bench.run(&["show", "e1"]).ok();
}

#[test]
fn it_starts_without_tokens_on_loopback_only() {
    let bench = Bench::new();
    bench.run(&["serve", "--listen", "0.0.0.0:0"]).exits(2).says("is not loopback");
    bench.run(&["serve", "--base-path", "er"]).exits(2).says("is no path");
    let hint = "add --tls-cert and --tls-key; or --behind-proxy";
    bench.run(&["serve", "--listen", "0.0.0.0:0", "--check"]).exits(2).says(hint);
    bench.run(&["serve", "--listen", "0.0.0.0:0", "--check", "--behind-proxy"]).ok();
    let files = ["--tls-cert", "none.pem", "--tls-key", "none.key"];
    bench.run(&[&["serve", "--check"], &files[..]].concat()).exits(2).says("none.pem cannot be read");
    bench.run(&["serve", "--check", "--tls-cert", "none.pem"]).exits(2).says("--tls-key");
    bench.run(&["serve", "--listen", "nowhere"]).exits(2);
    bench.run(&["serve", "--check", "--base-path", "/er"]).ok().prints("the settings are sound");
    assert!(!bench.path("events.db").exists(), "a check made a store");
    bench.run(&["serve", "--read-only", "--listen", "127.0.0.1:0"]).exits(1).says("there is no store");
    let served = Served::start(&bench, &[]);
    bench.run(&["serve", "--listen", &served.address]).exits(1).says("cannot be listened at");
    served.end();
}

#[test]
fn tokens_are_created_once_listed_without_secrets_and_revoked() {
    let bench = Bench::new();
    let without_tokens = ["serve", "--require-tokens", "--listen", "127.0.0.1:0"];
    bench.run(&["init"]).ok();
    bench.run(&without_tokens).exits(2).says("the store has none").says("tokens create NAME --role admin");
    bench.run(&["tokens", "list"]).ok().says("no tokens");
    let create = ["tokens", "create", "mailer", "--role", "consume", "--group", "mail", "--expires", "90d"];
    let made = bench.run(&create).ok().says("created token mailer (consume); it is not shown again").stdout;
    let token = made.trim();
    assert_eq!((made.lines().count(), token.len(), &token[..3]), (1, 59, "er_"), "{made}");
    bench.run(&create).exits(1).says("there is a token \"mailer\" already");
    bench.run(&["tokens", "create", "x"]).exits(2).says("--role");
    bench.run(&["tokens", "create", "x", "--role", "boss"]).exits(2).says("a role is read, content");
    bench
        .run(&["tokens", "create", "x", "--role", "read", "--group", "a"])
        .exits(2)
        .says("add --role consume");
    let listed = bench.run(&["tokens", "list"]).ok().prints("mailer").prints("consume").stdout;
    assert!(!listed.contains(&token[16..]), "{listed}");
    let served = Served::start(&bench, &["--require-tokens"]);
    assert_eq!(served.ask("GET", "/v1/groups", None).0, 401);
    served.end();
    bench.run(&["tokens", "revoke", "mialer"]).exits(1).says("did you mean mailer?");
    bench.run(&["tokens", "revoke", "mailer"]).ok().prints("revoked token mailer");
    let audit = bench.json(&["audit", "list", "--action", "tokens"]).to_string();
    assert!(audit.contains("tokens revoke") && !audit.contains(&token[16..]), "{audit}");
}

/// Removes members that differ between two answers: times, and counts that grow during the test.
fn without(mut document: Value, members: &[&str]) -> Value {
    fn strip(value: &mut Value, members: &[&str]) {
        match value {
            Value::Object(object) => {
                object.retain(|name, _| !members.contains(&name.as_str()));
                object.values_mut().for_each(|value| strip(value, members));
            }
            Value::Array(values) => values.iter_mut().for_each(|value| strip(value, members)),
            _ => {}
        }
    }
    strip(&mut document, members);
    document
}

#[test]
fn a_request_has_the_same_document_by_both_ways() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "mail", "--at", "start"]).ok();
    bench.run(&["checkpoint", "a", "e2"]).ok();
    bench.run(&["checkpoint", "b"]).ok();
    bench.run(&["replay", "--user-id", "user-123", "--group", "mail", "--detach", "--delay", "0"]).ok();
    bench.pipe(&["publish", "--delay", "1h"], registered("later", "u1", "2024-01-15T10:30:00Z")).ok();
    bench.run(&["tokens", "create", "mailer", "--role", "consume", "--group", "mail"]).ok();
    bench.run(&["replay", "--user-id", "user-123", "--group", "mail", "--plan"]).ok();
    let replay = bench.json(&["replays", "list"])[0]["id"].as_str().unwrap().to_owned();
    let plan = bench.json(&["plans", "list"])[0]["id"].as_str().unwrap().to_owned();
    let served = Served::start(&bench, &["--read-only"]);
    let (of_replay, of_plan) = (format!("/v1/replays/{replay}"), format!("/v1/kept-plans/{plan}"));
    let pairs: &[(&[&str], &str)] = &[
        (&["list", "--limit", "3"], "/v1/events?limit=3"),
        (&["histogram", "--interval", "1d", "--by", "type"], "/v1/events/histogram?interval=1d&by=type"),
        (&["trace", "c-user-123"], "/v1/correlations/c-user-123/trace"),
        (&["replays", "show", &replay], &of_replay),
        (&["plans", "list"], "/v1/kept-plans"),
        (&["plans", "show", &plan], &of_plan),
        (&["list", "--type", "user.*", "--order", "asc"], "/v1/events?type=user.*&order=asc"),
        (
            &["list", "--user-id", "user-123", "--user-id", "user-456", "--from", "2024-01-16T00:00:00Z"],
            "/v1/events?userId=user-123&userId=user-456&from=2024-01-16T00:00:00Z",
        ),
        (&["list", "--where", "data.amount > 100"], "/v1/events?where=data.amount%20%3E%20100"),
        (&["show", "e3"], "/v1/events/e3"),
        (&["groups", "list"], "/v1/groups"),
        (&["groups", "show", "mail"], "/v1/groups/mail"),
        (&["checkpoints", "list"], "/v1/checkpoints"),
        (&["checkpoints", "show", "a"], "/v1/checkpoints/a"),
        (&["checkpoints", "diff", "a", "b"], "/v1/checkpoints/a/diff?to=b"),
        (&["replays", "list"], "/v1/replays"),
        (&["scheduled", "list"], "/v1/scheduled"),
        (&["schemas", "list"], "/v1/schemas"),
        (&["schemas", "show", "user.registered"], "/v1/schemas/user.registered"),
        (&["dead-letters", "list"], "/v1/dead-letters"),
        (&["dead-letters", "list", "--by", "fingerprint"], "/v1/dead-letters/groups"),
        (&["stats", "--type", "user.*"], "/v1/stats?type=user.*"),
        (&["audit", "list", "--action", "groups"], "/v1/audit?action=groups"),
        (&["tokens", "list"], "/v1/tokens"),
    ];
    for (args, path) in pairs {
        assert_eq!(bench.json(args), served.get(path), "{args:?} and {path}");
    }
    let compared: Vec<&str> = pairs.iter().map(|(_, path)| *path).collect();
    assert_eq!(forgotten("GET", &compared), BY_ITSELF_GET);
    let health = |document| without(document, &["observed", "message"]);
    let (_, over_http) = served.ask("GET", "/v1/health", None);
    assert_eq!(health(bench.json(&["health"])), health(serde_json::from_str(&over_http).unwrap()));
    served.end();
}

#[test]
fn a_change_has_the_same_document_by_both_ways() {
    let stores = [Bench::with(&some()), Bench::with(&some())];
    let served = Served::start(&stores[1], &[]);
    let volatile = [
        "id",
        "replayId",
        "createdAt",
        "mark",
        "planHash",
        "hash",
        "storedAt",
        "at",
        "by",
        "since",
        "expiresAt",
        "createdBy",
    ];
    let pairs: &[(&[&str], &str, Value)] = &[
        (
            &["groups", "create", "mail", "--at", "start", "--type", "user.*"],
            "/v1/groups",
            json!({"name": "mail", "at": "start", "type": "user.*"}),
        ),
        (
            &["groups", "reset", "mail", "--at", "head", "--dry-run"],
            "/v1/groups/mail/resets",
            json!({"at": "head", "dryRun": true}),
        ),
        (&["groups", "reset", "mail", "--at", "head"], "/v1/groups/mail/resets", json!({"at": "head"})),
        (
            &["checkpoint", "a", "e2", "--metadata", "{\"x\":1}"],
            "/v1/checkpoints",
            json!({"name": "a", "eventId": "e2", "metadata": {"x": 1}}),
        ),
        (&["replay", "--user-id", "user-123", "--dry-run"], "/v1/plans", json!({"userId": "user-123"})),
        (&["recover", "a", "--dry-run"], "/v1/plans", json!({"checkpoint": "a"})),
        (&["dead-letters", "redrive", "--group", "mail"], "/v1/redrives", json!({"group": "mail"})),
        (
            &["dead-letters", "discard", "--group", "mail", "--reason", "x", "--dry-run"],
            "/v1/discards",
            json!({"group": "mail", "reason": "x", "dryRun": true}),
        ),
        (&["trim", "--max-events", "4", "--dry-run"], "/v1/trims", json!({"maxEvents": 4, "dryRun": true})),
        (
            &["groups", "pause", "mail", "--reason", "maintenance"],
            "/v1/groups/mail/pause",
            json!({"reason": "maintenance"}),
        ),
        (&["groups", "resume", "mail"], "/v1/groups/mail/resume", json!({})),
        (&["dead-letters", "restore", "--group", "mail"], "/v1/restores", json!({"group": "mail"})),
        (
            &["replay", "--user-id", "user-123", "--group", "mail", "--plan"],
            "/v1/kept-plans",
            json!({"userId": "user-123", "group": "mail"}),
        ),
        (
            &["erase", "user=user-456", "--dry-run"],
            "/v1/erasures",
            json!({"userId": "user-456", "dryRun": true}),
        ),
    ];
    for (args, path, body) in pairs {
        let (one, other) =
            (without(stores[0].json(args), &volatile), without(served.post(path, body), &volatile));
        assert_eq!(one, other, "{args:?} and {path}");
    }
    let compared: Vec<&str> = pairs.iter().map(|(_, path, _)| *path).collect();
    assert_eq!(forgotten("POST", &compared), BY_ITSELF_POST);
    let event = registered("n1", "u9", "2024-01-15T10:30:00Z");
    let published = stores[0].pipe(&["publish", "--output", "json"], &event).ok().json();
    let over_http = served.post("/v1/events", &json!([serde_json::from_str::<Value>(&event).unwrap()]));
    assert_eq!(published, over_http);
    served.end();
}

#[test]
fn a_command_to_a_replay_has_the_same_document_by_both_ways() {
    let stores = [Bench::with(&some()), Bench::with(&some())];
    for store in &stores {
        store.run(&["groups", "create", "mail", "--at", "head"]).ok();
    }
    let served = Served::start(&stores[1], &[]);
    let volatile = ["id", "replayId", "createdAt", "updatedAt", "planHash", "effective", "withGroups"];
    let first =
        stores[0].json(&["replay", "--all", "--group", "mail", "--rate", "1", "--ramp", "1", "--detach"]);
    let plan = served.post("/v1/plans", &json!({"all": true}));
    let start = json!({
        "all": true, "mark": plan["mark"], "hash": plan["planHash"], "group": "mail", "rate": 1, "ramp": [1],
    });
    let second = served.post("/v1/replays", &start);
    assert_eq!(without(first.clone(), &volatile), without(second.clone(), &volatile));
    let ids = [&first["replayId"], &second["replayId"]].map(|id| id.as_str().unwrap().to_owned());
    let commands: &[(&str, &[&str], Value)] = &[
        ("pause", &[], json!({})),
        ("pace", &["--rate", "2"], json!({"rate": 2})),
        ("resume", &[], json!({})),
        ("cancel", &[], json!({})),
    ];
    for (command, flags, body) in commands {
        let one = stores[0].json(&[&["replays", command, ids[0].as_str()], *flags].concat());
        let other = served.post(&format!("/v1/replays/{}/{command}", ids[1]), body);
        // The server runs replays, so the state of its replay may be further on.
        let states = ["state", "plan", "mark", "resting", "groups"];
        let stable = [&volatile[..], &states].concat();
        assert_eq!(without(one, &stable), without(other, &stable), "{command}");
    }
    served.end();
}

/// Routes that read and have no command with the same document: probes, streams, metrics, and parts of the documents of `show`. The
/// document of `health` is compared without its figures.
const BY_ITSELF_GET: &[&str] = &[
    "/livez",
    "/readyz",
    "/problems/{code}",
    "/openapi.json",
    "/v1/events/stream",
    "/v1/events/{id}/deliveries",
    "/v1/groups/{group}/deliveries",
    "/v1/kept-plans/{id}/events",
    "/metrics",
    "/v1/health",
];

/// Routes that change something and are compared in other tests, or have no command with the same document: consuming, secrets, and
/// runs that a command waits for.
const BY_ITSELF_POST: &[&str] = &[
    "/v1/events",
    "/v1/groups/{group}/fetch",
    "/v1/groups/{group}/settle",
    "/v1/dead-letters/{id}/revisions",
    "/v1/kept-plans/{id}/approvals",
    "/v1/kept-plans/{id}/runs",
    "/v1/replays",
    "/v1/replays/{id}/pause",
    "/v1/replays/{id}/resume",
    "/v1/replays/{id}/pace",
    "/v1/replays/{id}/cancel",
    "/v1/schemas/{type}",
    "/v1/tokens",
];

/// Returns the routes of a method that none of these paths leads to.
fn forgotten(method: &str, paths: &[&str]) -> Vec<&'static str> {
    let leads = |route: &str, path: &str| {
        let path = path.split('?').next().unwrap_or_default();
        let (one, other): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
        one.len() == other.len()
            && one.iter().zip(&other).all(|(one, other)| one.starts_with('{') || one == other)
    };
    let routes = server::routes::ROUTES.iter().filter(|route| route.verb.as_str() == method);
    let routes = routes.filter(|route| !paths.iter().any(|path| leads(route.path, path)));
    routes.map(|route| route.path).collect()
}
