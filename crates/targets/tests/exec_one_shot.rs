//! A command that runs once for each event: its exit status is the answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{path::Path, time::Duration};

use domain::{
    delivery::{HandlerError, Verdict},
    ports::{DeliveryOutcome, EventHandler, ReplayTarget},
};
use event_replay_targets::{ExecCommand, ExecError, ExecHandler, ExecTarget};
use support::{batch, delivery};
use tempfile::TempDir;
use tokio::time::sleep;

/// A time limit that no test reaches.
const LONG: Duration = Duration::from_secs(60);

fn once(script: &str) -> ExecCommand {
    ExecCommand::new("sh", ["-c", script]).one_shot()
}

#[tokio::test]
async fn the_event_is_on_stdin_and_an_exit_status_of_0_is_handled() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("seen");
    let handler = ExecHandler::start(once(&format!("cat >> {}", file.display()))).unwrap();
    for id in ["e1", "e2"] {
        handler.handle(&delivery(id, LONG)).await.unwrap();
    }
    let seen = std::fs::read_to_string(&file).unwrap();
    let ids: Vec<String> = seen
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["event"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["e1", "e2"]);
}

#[tokio::test]
async fn any_other_status_fails_with_the_end_of_stderr() {
    let handler = ExecHandler::start(once("echo no such mailbox >&2; exit 67")).unwrap();
    let error = handler.handle(&delivery("e1", LONG)).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Retry);
    assert_eq!(
        error.errors,
        ["the command failed: exit status: 67", "its output ends with: no such mailbox"]
    );
}

#[tokio::test]
async fn a_command_that_reads_nothing_is_judged_by_its_status_alone() {
    let handler = ExecHandler::start(once("exit 0")).unwrap();
    for n in 0..20 {
        let mut long = delivery("e1", LONG);
        long.stored = support::stored("e1", "u", n, 500_000);
        assert_eq!(handler.handle(&long).await, Ok(()));
    }
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("pid");
    let handler = ExecHandler::start(once(&format!("echo $$ > {}; exec sleep 60", file.display()))).unwrap();
    let error = handler.handle(&delivery("e1", Duration::from_millis(500))).await.unwrap_err();
    assert_eq!(error.message(), "the command did not end within 500ms and was killed");
    gone(&file).await;
}

#[tokio::test]
async fn a_delivery_that_is_dropped_takes_its_process_along() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("pid");
    let handler = ExecHandler::start(once(&format!("echo $$ > {}; exec sleep 60", file.display()))).unwrap();
    let one = delivery("e1", LONG);
    assert!(tokio::time::timeout(Duration::from_millis(500), handler.handle(&one)).await.is_err());
    gone(&file).await;
}

#[tokio::test]
async fn closing_waits_for_what_runs_and_killing_does_not() {
    let dir = TempDir::new().unwrap();
    for is_killed in [false, true] {
        let begun = dir.path().join(format!("begun-{is_killed}"));
        let handler = ExecHandler::start(once(&format!("echo > {}; sleep 1", begun.display()))).unwrap();
        let open = tokio::spawn({
            let handler = handler.clone();
            async move { handler.handle(&delivery("e1", LONG)).await }
        });
        while !begun.exists() {
            sleep(Duration::from_millis(5)).await;
        }
        let closed = Err(HandlerError::retry("the command is closed"));
        if is_killed {
            handler.kill().await;
            assert_eq!(open.await.unwrap(), closed);
        } else {
            handler.close().await;
            assert_eq!(open.await.unwrap(), Ok(()));
        }
        assert_eq!(handler.handle(&delivery("e2", LONG)).await, closed);
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_refused_at_once() {
    let error = ExecHandler::start(ExecCommand::parse("no-such-program").unwrap().one_shot()).unwrap_err();
    assert!(matches!(error, ExecError::Start { program, .. } if program == "no-such-program"));
    let dir = TempDir::new().unwrap();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let plain = ExecCommand::new(plain.display().to_string(), [""; 0]).one_shot();
    assert!(matches!(ExecHandler::start(plain), Err(ExecError::Start { .. })), "it may not be run");
}

#[tokio::test]
async fn a_replay_runs_it_for_each_event_too() {
    let mut target = ExecTarget::start(once(r#"! grep -q '"id":"bad"'"#))
        .unwrap()
        .with_retry_pause(Duration::from_millis(1));
    let outcomes = target.deliver(&batch([("a", "u"), ("bad", "u"), ("z", "u")])).await.unwrap();
    assert_eq!(outcomes[0], DeliveryOutcome::Handled);
    assert_eq!(outcomes[1], DeliveryOutcome::Failed("the command failed: exit status: 1".to_owned()));
    assert_eq!(outcomes[2], DeliveryOutcome::Handled);
    target.close().await;
}

/// Waits until the process with the id in `file` is gone.
async fn gone(file: &Path) {
    let pid = std::fs::read_to_string(file).unwrap();
    for _ in 0..2000 {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("process {pid} still runs");
}
