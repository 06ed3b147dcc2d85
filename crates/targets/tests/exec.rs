//! A command answers its deliveries or fails the deliveries in flight, and it never outlives its handler.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use domain::{
    delivery::{HandlerError, Verdict},
    ports::{DeliveryOutcome, EventHandler, ReplayTarget, TargetError},
};
use event_replay_targets::{ExecCommand, ExecError, ExecHandler, ExecTarget};
use support::{batch, delivery, stored};
use tempfile::TempDir;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// A time limit that no test reaches.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// Reads one line into `$line` and its event's id into `$id`. Exits the script at the end of the input.
const READ: &str = r#"next() { IFS= read -r line || exit 0; id=${line#*\"id\":\"}; id=${id%%\"*}; }
ok() { printf '{"id":"%s","ok":true}\n' "$1"; }
"#;

fn sh(script: &str) -> ExecCommand {
    ExecCommand::new("sh", ["-c", &format!("{READ}{script}")])
}

fn start(script: &str) -> ExecHandler {
    ExecHandler::start(sh(script)).unwrap()
}

async fn ask(handler: &ExecHandler, id: &str) -> Result<(), HandlerError> {
    handler.handle(&delivery(id, LONG)).await
}

fn spawn_ask(handler: &ExecHandler, id: &'static str) -> JoinHandle<Result<(), HandlerError>> {
    let handler = handler.clone();
    tokio::spawn(async move { ask(&handler, id).await })
}

fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid.trim()).exists()
}

async fn content(file: &Path) -> String {
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Waits until a child of this process is gone. A zombie still counts as present.
async fn gone(pid: &str) {
    for _ in 0..2000 {
        if !exists(pid) {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("process {pid} is still there: {:?}", std::fs::read_to_string(format!("/proc/{pid}/status")));
}

/// Waits until a process of the command has ended. The system's first process may collect it later.
async fn ended(pid: &str) {
    for _ in 0..2000 {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("process {pid} still runs");
}

#[tokio::test]
async fn ten_thousand_events_go_through_many_at_once() {
    let handler = start("while :; do next; ok \"$id\"; done");
    let mut tasks = JoinSet::new();
    for worker in 0..50 {
        let handler = handler.clone();
        tasks.spawn(async move {
            for n in 0..200 {
                ask(&handler, &format!("e{worker}-{n}")).await.unwrap();
            }
        });
    }
    assert_eq!(tasks.join_all().await.len(), 50);
    assert_eq!(handler.ignored_lines(), 0);
    handler.close().await;
}

#[tokio::test]
async fn the_command_sees_the_stored_event_and_its_delivery() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("line");
    let handler =
        start(&format!("while :; do next; printf '%s\\n' \"$line\" > {}; ok \"$id\"; done", file.display()));
    let mut again = delivery("e1", LONG);
    again.attempt = 3;
    handler.handle(&again).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&content(&file).await).unwrap();
    assert_eq!(value["event"]["id"], "e1");
    assert_eq!(value["position"], "0:17");
    assert_eq!(value["delivery"], serde_json::json!({"group": "g", "attempt": 3}));
    assert_eq!(value.get("replay"), None);
}

#[tokio::test]
async fn answers_may_come_in_any_order_and_say_what_is_to_become_of_the_event() {
    let handler = start(
        r#"next; next; next; next
        echo '{"id":"later","ok":false,"error":"busy","retryAfterMs":1500}'
        echo '{"id":"never","ok":false,"error":"no such user","retry":false}'
        echo '{"id":"again","ok":false}'
        echo '{"id":"good","ok":true,"error":"ignored"}'; next"#,
    );
    let (good, again, never, later) = tokio::join!(
        ask(&handler, "good"),
        ask(&handler, "again"),
        ask(&handler, "never"),
        ask(&handler, "later")
    );
    assert_eq!(good, Ok(()));
    assert_eq!(again, Err(HandlerError::retry("the command failed, and gave no error")));
    assert_eq!(never, Err(HandlerError::give_up("no such user")));
    assert_eq!(later, Err(HandlerError::retry_after(Duration::from_millis(1500), "busy")));
}

#[tokio::test]
async fn an_id_that_is_open_twice_is_answered_in_order() {
    let handler = start(
        r#"next; next; echo '{"id":"e","ok":false,"error":"first"}'; echo '{"id":"e","ok":false,"error":"second"}'; next"#,
    );
    let (first, second) = tokio::join!(biased; ask(&handler, "e"), ask(&handler, "e"));
    assert_eq!(first.unwrap_err().message(), "first");
    assert_eq!(second.unwrap_err().message(), "second");
}

#[tokio::test]
async fn an_answer_that_names_its_attempt_is_matched_by_it() {
    let handler = start(
        r#"next; next; echo '{"id":"e","ok":false,"error":"second","attempt":2}'
        echo '{"id":"e","ok":false,"error":"first","attempt":1}'; next"#,
    );
    let again = domain::delivery::Delivery { attempt: 2, ..delivery("e", LONG) };
    let (first, second) = tokio::join!(ask(&handler, "e"), handler.handle(&again));
    assert_eq!(first.unwrap_err().message(), "first");
    assert_eq!(second.unwrap_err().message(), "second");
}

#[tokio::test]
async fn lines_that_are_no_answers_are_counted_and_change_nothing() {
    let handler = start(
        r#"next; echo hello; echo; echo '{"id":1,"ok":true}'; echo '{"id":"stranger","ok":true}'; echo '{"id":"e"}'
        head -c 2000000 /dev/zero | tr '\0' x; echo; printf '\377\376\n'; ok "$id"; next"#,
    );
    assert_eq!(ask(&handler, "e").await, Ok(()));
    assert_eq!(handler.ignored_lines(), 7);
}

#[tokio::test]
async fn a_command_that_reads_nothing_fails_what_it_was_given_and_is_killed() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("pid");
    let handler = start(&format!("echo $$ > {}; exec sleep 1000", file.display()));
    let first = content(&file).await;
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        let handler = handler.clone();
        // Together the lines are far larger than a pipe.
        let mut delivery = delivery(&format!("e{n}"), SHORT);
        delivery.stored = stored(&format!("e{n}"), "u", n, 50_000);
        tasks.spawn(async move { handler.handle(&delivery).await });
    }
    for result in tasks.join_all().await {
        assert_eq!(result.unwrap_err().verdict, Verdict::Retry);
    }
    gone(&first).await;
    std::fs::remove_file(&file).unwrap();
    let error = handler.handle(&delivery("next", Duration::from_secs(2))).await.unwrap_err();
    assert!(error.message().contains("did not answer"), "{error}");
    assert_ne!(content(&file).await, first, "it was started again");
}

#[tokio::test]
async fn a_command_that_answers_nothing_is_killed_and_started_again() {
    let dir = TempDir::new().unwrap();
    let flag = dir.path().join("flag");
    // The first process reads all input and answers nothing. The second process answers.
    let handler = start(&format!(
        "if [ ! -e {0} ]; then : > {0}; cat > /dev/null; fi; while :; do next; ok \"$id\"; done",
        flag.display()
    ));
    let short = delivery("a", SHORT);
    let (silent, longer) = tokio::join!(handler.handle(&short), ask(&handler, "b"));
    assert!(silent.unwrap_err().message().contains("did not answer within 300ms"));
    assert_eq!(longer, Ok(()), "what was open beside it is tried alone, and not blamed");
    assert_eq!(ask(&handler, "c").await, Ok(()));
}

#[tokio::test]
async fn a_command_that_exits_fails_what_is_open_and_is_started_again() {
    let handler = start("next; ok \"$id\"; next; ok \"$id\"; next; exit 7");
    assert_eq!(ask(&handler, "a").await, Ok(()));
    assert_eq!(ask(&handler, "b").await, Ok(()));
    let error = ask(&handler, "c").await.unwrap_err();
    assert_eq!(error, HandlerError::retry("the command ended before it answered: exit status: 7"));
    assert_eq!(ask(&handler, "d").await, Ok(()));
    assert_eq!(ask(&handler, "e").await, Ok(()));
}

#[tokio::test]
async fn what_was_answered_before_the_exit_counts() {
    for _ in 0..20 {
        let handler = start("next; ok \"$id\"; exit 3");
        assert_eq!(ask(&handler, "a").await, Ok(()));
    }
}

#[tokio::test]
async fn a_command_that_closes_its_output_or_its_input_is_started_again() {
    let dir = TempDir::new().unwrap();
    for close in ["exec >&-", "exec <&-"] {
        let closed = dir.path().join(close);
        // The first process closes the pipe. The next processes answer all events.
        let handler = start(&format!(
            "next; ok \"$id\"; if [ ! -e '{0}' ]; then {close}; echo > '{0}'; exec sleep 1000; fi
            while :; do next; ok \"$id\"; done",
            closed.display()
        ));
        assert_eq!(ask(&handler, "a").await, Ok(()));
        content(&closed).await;
        let error = ask(&handler, "b").await.err();
        assert!(error.is_none_or(|error| error.message().ends_with("it was killed")), "{close}");
        assert_eq!(ask(&handler, "c").await, Ok(()), "{close}");
    }
}

#[tokio::test]
async fn a_late_answer_is_ignored_and_not_taken_for_the_next_one() {
    let handler = start(
        r#"next; next; ok b; sleep 1; echo '{"id":"a","ok":false,"error":"late"}'
        while :; do next; ok "$id"; done"#,
    );
    let late = delivery("a", Duration::from_millis(500));
    let (a, b) = tokio::join!(biased; handler.handle(&late), ask(&handler, "b"));
    assert_eq!(b, Ok(()));
    assert!(a.unwrap_err().message().contains("did not answer"));
    assert_eq!(ask(&handler, "a").await, Ok(()), "its second attempt has an answer of its own");
    assert_eq!(handler.ignored_lines(), 1);
}

#[tokio::test]
async fn a_delivery_that_is_dropped_leaves_no_answer_behind_for_others() {
    let dir = TempDir::new().unwrap();
    let go = dir.path().join("go");
    let handler = start(&format!(
        r#"next; while [ ! -e {} ]; do sleep 0.01; done; echo '{{"id":"a","ok":false}}'; while :; do next; ok "$id"; done"#,
        go.display()
    ));
    let dropped = tokio::time::timeout(SHORT, ask(&handler, "a")).await;
    assert!(dropped.is_err());
    std::fs::write(&go, "").unwrap();
    assert_eq!(ask(&handler, "a").await, Ok(()));
    assert_eq!(handler.ignored_lines(), 1);
}

#[tokio::test]
async fn pipes_that_are_full_both_ways_do_not_lock() {
    let handler = start(
        r#"noise=$(head -c 100000 /dev/zero | tr '\0' x); echo "$noise"; echo "$noise"
        while :; do next; echo "$noise"; ok "$id"; done"#,
    );
    let mut tasks = JoinSet::new();
    for n in 0..30 {
        let handler = handler.clone();
        let mut delivery = delivery("e", LONG);
        delivery.stored = stored(&format!("e{n}"), "u", n, 100_000);
        tasks.spawn(async move { handler.handle(&delivery).await });
    }
    assert!(tasks.join_all().await.into_iter().all(|result| result.is_ok()));
    assert_eq!(handler.ignored_lines(), 32);
}

#[tokio::test]
async fn dropping_the_handler_leaves_no_process() {
    let dir = TempDir::new().unwrap();
    let (own, child) = (dir.path().join("own"), dir.path().join("child"));
    let script = format!(
        "trap '' TERM HUP; sleep 1000 & echo $! > {}; echo $$ > {}; while :; do sleep 1; done",
        child.display(),
        own.display()
    );
    let handler = start(&script);
    let pids = [content(&own).await, content(&child).await];
    assert!(pids.iter().all(|pid| exists(pid)));
    drop(handler);
    gone(&pids[0]).await;
    ended(&pids[1]).await;
}

#[tokio::test]
async fn closing_lets_the_command_finish_and_waits_for_it() {
    let dir = TempDir::new().unwrap();
    let (own, done) = (dir.path().join("own"), dir.path().join("done"));
    let handler = start(&format!(
        r#"echo $$ > {}; while IFS= read -r line; do :; done; sleep 0.2; ok open; echo done > {}"#,
        own.display(),
        done.display()
    ));
    let own = content(&own).await;
    let open = spawn_ask(&handler, "open");
    sleep(SHORT).await;
    handler.close().await;
    assert!(done.exists() && !exists(&own));
    assert_eq!(open.await.unwrap(), Ok(()), "what it answers while it ends counts");
    assert_eq!(ask(&handler, "more").await, Err(HandlerError::retry("the command is closed")));
    handler.close().await;
}

#[tokio::test]
async fn a_command_that_does_not_end_is_killed_with_all_it_started() {
    let dir = TempDir::new().unwrap();
    let (own, child) = (dir.path().join("own"), dir.path().join("child"));
    let script = format!(
        "trap '' TERM HUP; sleep 1000 & echo $! > {}; echo $$ > {}; while :; do sleep 1; done",
        child.display(),
        own.display()
    );
    let handler = ExecHandler::start(sh(&script).with_grace(SHORT)).unwrap();
    let pids = [content(&own).await, content(&child).await];
    let open = spawn_ask(&handler, "open");
    sleep(SHORT).await;
    handler.close().await;
    assert!(!exists(&pids[0]));
    ended(&pids[1]).await;
    assert!(open.await.unwrap().is_err());
}

#[tokio::test]
async fn a_command_that_is_killed_is_gone_at_once_also_while_it_is_waited_for() {
    let dir = TempDir::new().unwrap();
    for is_closing in [false, true] {
        let own = dir.path().join(format!("own-{is_closing}"));
        let script = format!("trap '' TERM HUP; echo $$ > {}; while :; do sleep 1; done", own.display());
        let handler = ExecHandler::start(sh(&script).with_grace(LONG)).unwrap();
        let own = content(&own).await;
        let open = spawn_ask(&handler, "open");
        sleep(SHORT).await;
        let closer = handler.clone();
        let closing = is_closing.then(|| tokio::spawn(async move { closer.close().await }));
        sleep(SHORT).await;
        assert!(exists(&own));
        handler.kill().await;
        gone(&own).await;
        assert_eq!(open.await.unwrap(), Err(HandlerError::retry("the command is closed")));
        assert_eq!(ask(&handler, "more").await, Err(HandlerError::retry("the command is closed")));
        if let Some(closing) = closing {
            closing.await.unwrap();
        }
        handler.kill().await;
        handler.close().await;
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_refused_at_once() {
    let error = ExecHandler::start(ExecCommand::new("/no/such/program", ["x"])).unwrap_err();
    assert!(matches!(error, ExecError::Start { program, .. } if program == "/no/such/program"));
    assert!(matches!(ExecCommand::parse("  "), Err(ExecError::Empty)));
    assert!(matches!(ExecCommand::parse("a 'b"), Err(ExecError::Quotes)));
    let secret = format!("{:?}", ExecCommand::parse("curl -u me:secret").unwrap());
    assert!(!secret.contains("secret"), "{secret}");
}

#[tokio::test]
async fn a_replay_gets_its_outcomes_in_order_and_events_that_fail_are_tried_four_times() {
    let dir = TempDir::new().unwrap();
    let tries = dir.path().join("tries");
    let command = sh(&format!(
        r#"while :; do next; printf '%s ' "$id" >> {}; case $id in
        bad) echo '{{"id":"bad","ok":false,"error":"busy"}}';;
        no) echo '{{"id":"no","ok":false,"error":"never","retry":false}}';;
        crash) exit 1;; *) ok "$id";; esac; done"#,
        tries.display()
    ));
    let mut target = ExecTarget::start(command).unwrap().with_retry_pause(Duration::from_millis(1));
    let outcomes = target
        .deliver(&batch([("a", "u"), ("bad", "u"), ("no", "u"), ("crash", "u"), ("z", "u")]))
        .await
        .unwrap();
    assert_eq!(outcomes[0], DeliveryOutcome::Handled);
    assert_eq!(outcomes[1], DeliveryOutcome::Failed("busy".to_owned()));
    assert_eq!(outcomes[2], DeliveryOutcome::Failed("never".to_owned()));
    assert!(
        matches!(&outcomes[3], DeliveryOutcome::Failed(why) if why.contains("exit status: 1")),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[4], DeliveryOutcome::Handled);
    let tried = std::fs::read_to_string(&tries).unwrap();
    assert_eq!(tried, "a bad bad bad bad no crash crash crash crash z ");
    target.close().await;
}

#[tokio::test]
async fn a_replay_waits_for_a_command_that_never_answered_anything() {
    let mut target = ExecTarget::start(sh("exit 1")).unwrap();
    for _ in 0..2 {
        let answer = target.deliver(&batch([("a", "u")])).await;
        assert!(matches!(answer, Err(TargetError::Unavailable(why)) if why.contains("exit status: 1")));
    }
}

#[tokio::test]
async fn events_of_one_key_stay_in_order_while_other_keys_go_on() {
    // The command answers only when one event of each of four keys is in flight.
    let command =
        sh("while :; do next; a=$id; next; b=$id; next; c=$id; next; ok \"$id\"; ok $c; ok $b; ok $a; done");
    let mut target = ExecTarget::start(command).unwrap().with_concurrency(4);
    let ids: Vec<(String, String)> = (0..40).map(|n| (format!("e{n}"), format!("u{}", n / 10))).collect();
    let events = batch(ids.iter().map(|(id, user)| (id.as_str(), user.as_str())));
    assert_eq!(target.deliver(&events).await, Ok(vec![DeliveryOutcome::Handled; 40]));
    assert_eq!(target.ignored_lines(), 0);
}

#[test]
fn a_runtime_that_ends_takes_the_command_along() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("pid");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (handler, pid) = runtime.block_on(async {
        let handler = Arc::new(start(&format!("sleep 1000 & echo $! > {}; wait", file.display())));
        let pid = content(&file).await;
        (handler, pid)
    });
    drop(runtime);
    tokio::runtime::Runtime::new().unwrap().block_on(ended(&pid));
    drop(handler);
}
