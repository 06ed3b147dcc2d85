//! A command that ends: the events that fail, and the error text of the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{collections::BTreeMap, time::Duration};

use domain::{delivery::HandlerError, ports::EventHandler};
use event_replay_targets::{ExecCommand, ExecHandler};
use support::delivery;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// A time limit that no test reaches.
const LONG: Duration = Duration::from_secs(60);

/// Reads one line into `$line` and its event's id into `$id`. Exits the script at the end of the input.
const READ: &str = r#"next() { IFS= read -r line || exit 0; id=${line#*\"id\":\"}; id=${id%%\"*}; }
ok() { printf '{"id":"%s","ok":true}\n' "$1"; }
"#;

fn sh(script: &str) -> ExecCommand {
    ExecCommand::new("sh", ["-c", &format!("{READ}{script}")])
}

/// Delivers all events at the same time. Returns the result of each event.
async fn ask_all(
    handler: &ExecHandler,
    ids: impl IntoIterator<Item = String>,
) -> BTreeMap<String, Result<(), HandlerError>> {
    let mut tasks = JoinSet::new();
    for id in ids {
        let handler = handler.clone();
        tasks.spawn(async move {
            let result = handler.handle(&delivery(&id, LONG)).await;
            (id, result)
        });
    }
    tasks.join_all().await.into_iter().collect()
}

#[tokio::test]
async fn only_the_event_that_ends_the_command_is_blamed() {
    // The script reads four events before it handles the first, so other events are in flight at each end.
    let dir = TempDir::new().unwrap();
    let again = dir.path().join("again");
    let handler = ExecHandler::start(sh(&format!(
        r#"one() {{ case $1 in bad*) echo "no luck with $1" >&2; exit 3;; esac; ok "$1"; }}
        if [ ! -e {0} ]; then : > {0}; next; a=$id; next; b=$id; next; c=$id; next
        one "$a"; one "$b"; one "$c"; one "$id"; fi
        while :; do next; one "$id"; done"#,
        again.display()
    )))
    .unwrap();
    let ids = ["a", "bad1", "b", "bad2", "c", "d"].map(str::to_owned);
    for (id, result) in ask_all(&handler, ids).await {
        if id.starts_with("bad") {
            let error = result.unwrap_err();
            assert_eq!(error.message(), "the command ended before it answered: exit status: 3");
            assert_eq!(error.errors[1..], [format!("its stderr ends with: no luck with {id}")]);
        } else {
            assert_eq!(result, Ok(()), "{id} is innocent");
        }
    }
    handler.close().await;
}

#[tokio::test]
async fn of_many_events_that_are_open_at_once_all_innocent_ones_are_handled() {
    let handler =
        ExecHandler::start(sh("while :; do next; case $id in *7) exit 1;; esac; ok \"$id\"; done")).unwrap();
    let results = ask_all(&handler, (0..64).map(|n| format!("e{n}"))).await;
    let blamed: Vec<&str> =
        results.iter().filter(|(_, result)| result.is_err()).map(|(id, _)| id.as_str()).collect();
    assert_eq!(blamed, ["e17", "e27", "e37", "e47", "e57", "e7"]);
}

#[tokio::test]
async fn what_is_tried_alone_has_the_command_to_itself() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    // After its restart, the script records for each event whether another line already waits behind it.
    let handler = ExecHandler::start(sh(&format!(
        r#"if [ ! -e {0} ]; then : > {0}; next; next; next; exit 1; fi
        for turn in 1 2 3; do next; first=$id
        printf '%s ' "$first" >> {0}; sleep 0.2; ok "$first"; done
        while :; do next; ok "$id"; done"#,
        log.display()
    )))
    .unwrap();
    let results = ask_all(&handler, ["a", "b", "c"].map(str::to_owned)).await;
    assert!(results.values().all(Result::is_ok), "{results:?}");
    let turns = std::fs::read_to_string(&log).unwrap();
    assert_eq!(turns.split_whitespace().count(), 3, "{turns}");
    assert_eq!(handler.handle(&delivery("later", LONG)).await, Ok(()));
}

#[tokio::test]
async fn a_line_that_is_no_answer_is_reported_and_stands_with_the_failure() {
    let handler = ExecHandler::start(sh("next; echo \"sent $id\"; sleep 60")).unwrap();
    let notices = handler.notices();
    let error = handler.handle(&delivery("e1", Duration::from_millis(500))).await.unwrap_err();
    assert_eq!(error.message(), "the command did not answer within 500ms");
    assert_eq!(error.errors[1..], ["it wrote a line that is no answer: sent e1"]);
    assert_eq!(notices.next().await, "the command wrote a line that is no answer: sent e1");
}

#[tokio::test]
async fn the_end_of_a_long_stderr_is_kept() {
    let handler = ExecHandler::start(sh(
        "next; head -c 300000 /dev/zero | tr '\\0' x >&2; echo >&2; echo the end >&2; exit 1",
    ))
    .unwrap();
    let error = handler.handle(&delivery("e1", LONG)).await.unwrap_err();
    let kept = &error.errors[1];
    assert!(kept.starts_with("its stderr ends with: …x") && kept.ends_with("x\\nthe end"), "{kept}");
    assert!(kept.len() < 1200, "{}", kept.len());
}

#[tokio::test]
async fn a_process_that_keeps_stderr_open_does_not_hold_up_the_end() {
    let handler = ExecHandler::start(sh("next; setsid sleep 20 & exit 1")).unwrap();
    let asked = std::time::Instant::now();
    handler.handle(&delivery("e1", LONG)).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn variables_that_are_named_are_kept_from_the_command() {
    // The test runner sets both variables.
    let script = r#"while :; do next; printf '{"id":"%s","ok":false,"error":"%s,%s"}\n' "$id" "${PATH:+kept}" "${CARGO_MANIFEST_DIR:-none}"; done"#;
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let command = sh(script).without_variables(["CARGO_MANIFEST_DIR".to_owned()]);
    let handler = ExecHandler::start(command).unwrap();
    let error = handler.handle(&delivery("e1", LONG)).await.unwrap_err();
    assert_eq!(error.message(), "kept,none");
}
