//! The answers of commands and endpoints: their result, their status and their body.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::time::Duration;

use event_replay_targets::{
    AnswerStatus, AnsweringTarget, Endpoint, ExecCommand, ExecFilter, ExecTarget, HttpTarget, NoAnswer,
    TargetAnswer,
};
use support::{
    batch,
    server::{Server, answer},
};
use tokio::net::TcpListener;

fn once(script: &str) -> ExecTarget {
    ExecTarget::start(ExecCommand::new("sh", ["-c", script]).one_shot().with_captured_stdout()).unwrap()
}

fn endpoint(url: &str) -> HttpTarget {
    let endpoint = Endpoint::parse(url).unwrap().with_timeout(Duration::from_millis(500));
    HttpTarget::new(endpoint).unwrap()
}

async fn ask(target: &dyn AnsweringTarget, id: &str) -> Result<TargetAnswer, NoAnswer> {
    target.ask(&batch([(id, "u1")])[0]).await
}

#[tokio::test]
async fn a_command_for_each_event_answers_with_its_status_and_its_stdout() {
    let target = once("grep -o '\"id\":\"[^\"]*\"'; echo logged >&2");
    let answer = ask(&target, "e1").await.unwrap();
    assert_eq!((answer.result, answer.status), (Ok(()), Some(AnswerStatus::Exit(0))));
    assert_eq!(answer.body, b"\"id\":\"e1\"\n");
    let answer = ask(&once("echo no; echo why >&2; exit 7"), "e1").await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (Some(AnswerStatus::Exit(7)), &b"no\n"[..]));
    assert_eq!(
        answer.result.unwrap_err().to_string(),
        "the command failed: exit status: 7: its output ends with: why"
    );
}

#[tokio::test]
async fn a_command_without_a_status_has_not_answered() {
    let said = ask(&once("kill -9 $$"), "e1").await.unwrap_err();
    assert!(matches!(&said, NoAnswer::Unanswered(text) if text.contains("signal: 9")), "{said}");
    let slow = once("sleep 60").with_timeout(Duration::from_millis(300));
    let said = ask(&slow, "e1").await.unwrap_err();
    assert!(
        matches!(&said, NoAnswer::Unanswered(text) if text.contains("did not end within 300ms")),
        "{said}"
    );
    let long = once("head -c 2000000 /dev/zero");
    let said = ask(&long, "e1").await.unwrap_err();
    assert!(
        matches!(&said, NoAnswer::Unanswered(text) if text.contains("more than 1048576 bytes")),
        "{said}"
    );
}

#[tokio::test]
async fn a_command_for_all_events_answers_with_its_line() {
    let script = r#"while read -r line; do
        id=$(printf '%s' "$line" | sed 's/^{"event":{"id":"\([^"]*\)".*/\1/')
        case "$id" in
          bad) printf '{"id":"%s","ok":false,"error":"no","extra":1}\n' "$id" ;;
          *) printf '{"id":"%s","ok":true,"total":3}\n' "$id" ;;
        esac
    done"#;
    let target = ExecTarget::start(ExecCommand::new("sh", ["-c", script])).unwrap();
    let answer = ask(&target, "e1").await.unwrap();
    assert_eq!((answer.result, answer.status), (Ok(()), None));
    assert_eq!(answer.body, br#"{"id":"e1","ok":true,"total":3}"#);
    let answer = ask(&target, "bad").await.unwrap();
    assert_eq!(answer.result.unwrap_err().message(), "no");
    assert_eq!(answer.body, br#"{"id":"bad","ok":false,"error":"no","extra":1}"#);
    target.close().await;
    assert!(matches!(ask(&target, "e2").await, Err(NoAnswer::Unreachable(_))));
}

#[tokio::test]
async fn an_endpoint_answers_with_its_status_and_its_whole_body() {
    let server = Server::start(|asked| async move {
        match asked.id() {
            "bad" => answer("422 Unprocessable Entity", "", "no"),
            "silent" => None,
            "long" => answer("200 OK", "", &"x".repeat(2 * 1024 * 1024)),
            _ => answer("200 OK", "", &"y".repeat(100_000)),
        }
    })
    .await;
    let target = endpoint(&server.url());
    let said = ask(&target, "e1").await.unwrap();
    assert_eq!((said.result, said.status), (Ok(()), Some(AnswerStatus::Http(200))));
    assert_eq!(said.body.len(), 100_000);
    let said = ask(&target, "bad").await.unwrap();
    assert_eq!((said.status, said.body.as_slice()), (Some(AnswerStatus::Http(422)), &b"no"[..]));
    assert!(said.result.is_err());
    for id in ["silent", "long"] {
        let said = ask(&target, id).await;
        assert!(matches!(said, Err(NoAnswer::Unanswered(_))), "{said:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(ask(&endpoint(&closed), "e1").await, Err(NoAnswer::Unreachable(_))));
}

#[tokio::test]
async fn a_filter_gets_lines_and_returns_its_output_or_its_failure() {
    let filter = |script: &str| ExecFilter::start(&ExecCommand::new("sh", ["-c", script])).unwrap();
    let mut count = filter("wc -l");
    for _ in 0..50_000 {
        count.write(b"a line that fills the pipe again and again\n").await;
    }
    let output = String::from_utf8(count.finish().await.unwrap()).unwrap();
    assert_eq!(output.trim(), "50000");
    // A command need not read its input.
    let mut first = filter("head -n 1");
    for _ in 0..50_000 {
        first.write(b"one\n").await;
    }
    assert_eq!(first.finish().await.unwrap(), b"one\n");
    let failure = filter("echo no such field >&2; exit 5").finish().await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "the command failed: exit status: 5; its stderr ends with: no such field"
    );
    assert!(ExecFilter::start(&ExecCommand::new("/no/such/program", [""; 0])).is_err());
}
