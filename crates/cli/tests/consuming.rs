//! `consume`: consumer groups from the shell, in separate processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::mpsc,
};

use common::{
    Bench, ids, paid,
    prepared::{CONSUMER, leases, on_store},
    registered, some,
};
use serde_json::Value;

const ALL: [&str; 5] = ["e1", "e2", "e3", "e4", "event-456789"];

/// Ends a consumer soon after it has handled all stored events.
const UNTIL_IDLE: [&str; 2] = ["--until-idle", "200ms"];

fn sorted(lines: &[Value]) -> Vec<&str> {
    let mut found = ids(lines);
    found.sort_unstable();
    found
}

fn group(bench: &Bench, name: &str) -> Value {
    bench.json(&["groups", "show", name])
}

/// A command that reports success for each event, unless a `case` of its id reports a failure.
fn answering(bench: &Bench, cases: &str) -> String {
    let script = format!(
        r#"while IFS= read -r line; do
             id=${{line#*'"id":"'}}; id=${{id%%'"'*}}; ok='"ok":true'
             case $id in {cases} *) ;; esac
             echo "$id" >> answered
             printf '{{"id":"%s",%s}}\n' "$id" "$ok"
           done"#
    );
    bench.file("answer.sh", script);
    "exec:sh answer.sh".to_owned()
}

#[test]
fn a_group_gets_what_is_there_once_and_goes_on_where_it_was() {
    let bench = Bench::with(&some());
    let first = bench.run(&[&["consume", "mail", "--at", "start"], &UNTIL_IDLE[..]].concat()).ok();
    assert_eq!(sorted(&first.lines()), ALL);
    assert!(first.lines().iter().all(|line| line["replay"].is_null() && line["position"].is_string()));
    let first = first.says("created group mail at start").says("joined group mail as");
    first.says("16 of 16 segments, to stdout").says("handled 5 events, 0 failed attempts, 0 given up");

    bench.pipe(&["publish"], registered("e6", "user-6", "2024-02-02T00:00:00Z")).ok();
    let again = bench.run(&[&["consume", "mail"], &UNTIL_IDLE[..]].concat()).ok();
    assert_eq!(ids(&again.lines()), ["e6"]);
    assert_eq!(
        (&group(&bench, "mail")["lag"], &group(&bench, "mail")["consumers"]),
        (&0.into(), &Value::Array(vec![]))
    );
}

#[test]
fn a_new_group_begins_at_the_head_and_gets_what_other_processes_publish() {
    let bench = Bench::with(&some());
    let consumer = bench.consume(&["mail", "--name", "worker-7"]);
    consumer.says("joined group mail as worker-7");
    for number in 6..9 {
        let event = registered(&format!("e{number}"), "user-123", "2024-02-02T00:00:00Z");
        bench.pipe(&["publish"], event).ok();
    }
    consumer.prints_lines(3);
    assert_eq!(group(&bench, "mail")["consumers"][0]["name"], "worker-7");
    let said = consumer.stop().ok().says("waiting for handlers to finish");
    assert_eq!(ids(&said.lines()), ["e6", "e7", "e8"], "one user's events keep their order");
    assert_eq!(group(&bench, "mail")["lag"], 0);
}

#[test]
fn a_service_manager_ends_it_in_order_too() {
    let bench = Bench::with(&some());
    let consumer = bench.consume(&["mail", "--at", "start"]);
    consumer.prints_lines(5);
    consumer.signal("TERM");
    consumer.ends().ok().says("handled 5 events");
    assert_eq!(group(&bench, "mail")["consumers"], Value::Array(vec![]), "its segments were given back");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let bench = Bench::with(&some());
    let mut consumer = bench.command(&["consume", "mail", "--at", "start"]).spawn().unwrap();
    let mut lines = BufReader::new(consumer.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    drop(lines);
    bench.pipe(&["publish"], registered("e6", "user-6", "2024-02-02T00:00:00Z")).ok();
    let output = consumer.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.contains("error")), (Some(0), false), "{said}");
    // Unread lines are delivered again.
    let rest = bench.run(&[&["consume", "mail"], &UNTIL_IDLE[..]].concat()).ok();
    assert!(sorted(&rest.lines()).contains(&"e6"), "{rest:?}");
}

#[test]
fn a_reader_that_stalls_makes_no_dead_letters_and_does_not_keep_it_from_ending() {
    let padding = "x".repeat(2000);
    let event = |n: usize| {
        registered(&format!("e{n}"), &format!("u{n}-{padding}")[..60], "2024-01-15T10:30:00Z")
            .replace("\"metadata\":{}", &format!("\"metadata\":{{\"padding\":\"{padding}\"}}"))
    };
    let events: Vec<String> = (0..300).map(event).collect();
    let bench = Bench::with(&events.join("\n")).env("DEFAULT_TIMEOUT", "200ms").env("MAX_EVENT_RETRIES", "0");
    let mut consumer = bench.command(&["consume", "mail", "--at", "start"]).spawn().unwrap();
    // Without a reader, the pipe is full long before it contains all events.
    std::thread::sleep(std::time::Duration::from_millis(1000));
    let signal = std::process::Command::new("kill").args(["-s", "INT", &consumer.id().to_string()]).status();
    assert!(signal.unwrap().success());
    common::consumer::wait("its end", || consumer.try_wait().unwrap().map(drop).ok_or_else(String::new));
    let said = consumer.wait_with_output().unwrap();
    let stderr = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("0 failed attempts, 0 given up"), "{stderr}");
    // The last line may be incomplete.
    let lines = String::from_utf8(said.stdout).unwrap();
    let read: std::collections::BTreeSet<String> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| line["event"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(!read.is_empty() && read.len() < events.len(), "{}", read.len());
    let rest = bench.run(&[&["consume", "mail"], &UNTIL_IDLE[..]].concat()).ok().lines();
    let rest: std::collections::BTreeSet<String> = ids(&rest).into_iter().map(str::to_owned).collect();
    assert_eq!(read.union(&rest).count(), events.len());
}

#[test]
fn a_limit_is_kept_exactly_and_the_rest_is_left_untried() {
    let bench = Bench::with(&some());
    let first = bench.run(&["consume", "mail", "--at", "start", "--limit", "2", "--concurrency", "8"]).ok();
    let mut seen: Vec<String> = ids(&first.lines()).into_iter().map(str::to_owned).collect();
    assert_eq!(seen.len(), 2, "{first:?}");
    assert_eq!(group(&bench, "mail")["blocked"], 0, "nothing else was tried");
    let rest = bench.run(&["consume", "mail", "--limit", "3"]).ok().says("handled 3 events");
    seen.extend(ids(&rest.lines()).into_iter().map(str::to_owned));
    seen.sort_unstable();
    assert_eq!(seen, ALL);
}

#[test]
fn types_choose_events_and_stay_with_the_group_until_others_are_given() {
    let bench = Bench::with(&some());
    let users = ["consume", "mail", "--at", "start", "--type", "user.*"];
    assert_eq!(
        sorted(&bench.run(&[&users, &UNTIL_IDLE[..]].concat()).ok().lines()),
        ["e1", "e2", "event-456789"]
    );
    bench
        .pipe(&["publish"], [paid("p1", "u", "1"), registered("r1", "u", "2024-02-02T00:00:00Z")].join("\n"))
        .ok();
    assert_eq!(ids(&bench.run(&[&["consume", "mail"], &UNTIL_IDLE[..]].concat()).ok().lines()), ["r1"]);
    bench.pipe(&["publish"], paid("p2", "u", "1")).ok();
    for other in ["*", "user.registered", "payment.*"] {
        let refused = bench.run(&[&["consume", "mail", "--type", other], &UNTIL_IDLE[..]].concat()).exits(1);
        refused
            .says(&format!("the group mail takes user.*, not {other}"))
            .says("`event-replay groups create mail --type TYPE` changes it");
    }
    bench.run(&["groups", "create", "mail", "--type", "*"]).ok();
    let all = bench.run(&[&["consume", "mail", "--type", "*"], &UNTIL_IDLE[..]].concat()).ok();
    assert_eq!(ids(&all.lines()), ["p2"]);
}

#[test]
fn what_a_command_refuses_is_tried_again_and_then_a_dead_letter() {
    let bench = Bench::with(&some());
    // The first refusal allows a retry. The second refusal is final.
    let cases = r#"e3) [ -e tried ] || ok='"ok":false,"error":"busy"'; touch tried ;;
                   e4) ok='"ok":false,"error":"no such account 17","retry":false' ;;"#;
    let target = answering(&bench, cases);
    let args = ["consume", "billing", "--at", "start", "--target", &target, "--output", "json"];
    let said = bench.run(&[&args, &UNTIL_IDLE[..]].concat()).exits(3);
    assert_eq!(said.stdout, "", "a command's answers are not printed");
    let said = said.says(
        "e4 (payment.processed) at 0:4 failed permanently after 1 attempt: no such account 17; it is now a dead letter",
    );
    let outcome: Value = serde_json::from_str(said.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&outcome["group"], &outcome["ended"]), (&"billing".into(), &"idle".into()));
    assert_eq!(
        [&outcome["handled"], &outcome["failedAttempts"], &outcome["givenUp"]].map(|n| n.as_u64().unwrap()),
        [4, 2, 1]
    );
    let letters = bench.json(&["dead-letters", "list"]);
    assert_eq!(letters["deadLetters"].as_array().unwrap().len(), 1);
    assert_eq!(letters["deadLetters"][0]["event"]["id"], "e4");

    // After the fix, the dead letter is redriven.
    let target = answering(&bench, "");
    let consumer = bench.consume(&["billing", "--target", &target]);
    let redriven = bench.json(&["dead-letters", "redrive", "--group", "billing"]);
    assert_eq!((&redriven["handled"], &redriven["failedAgain"]), (&1.into(), &0.into()));
    consumer.stop().ok().says("handled 1 event,");
    let counters = &bench.json(&["stats"])["counters"]["inAll"];
    assert_eq!(
        (&counters["deadLettered"], &counters["retried"]),
        (&1.into(), &1.into()),
        "counted for all to see"
    );
}

#[test]
fn without_dead_letters_what_is_given_up_on_is_dropped_and_said() {
    let bench = Bench::with(&some()).env("ENABLE_DEAD_LETTER_QUEUE", "false").env("MAX_EVENT_RETRIES", "0");
    let target = answering(&bench, r#"e1) ok='"ok":false,"error":"no"' ;;"#);
    let said =
        bench.run(&[&["consume", "mail", "--at", "start", "--target", &target], &UNTIL_IDLE[..]].concat());
    said.exits(3).says("e1 (").says("after 1 attempt: no; it was dropped");
    assert_eq!(bench.json(&["dead-letters", "list"])["deadLetters"], Value::Array(vec![]));
    bench.run(&["consume", "mail", "--park"]).exits(2).says("needs dead letters, which are off");
}

#[test]
fn a_parked_key_waits_behind_its_dead_letter_and_others_do_not() {
    let bench = Bench::with(&some());
    let target = answering(&bench, r#"e1) ok='"ok":false,"error":"no","retry":false' ;;"#);
    let args = ["consume", "mail", "--at", "start", "--target", &target, "--park"];
    bench.run(&[&args, &UNTIL_IDLE[..]].concat()).exits(3);
    let answered = std::fs::read_to_string(bench.path("answered")).unwrap();
    let mut answered: Vec<&str> = answered.lines().collect();
    answered.sort_unstable();
    assert_eq!(answered, ["e1", "e2", "e4", "event-456789"], "e3 is of the same user as e1");
    assert_eq!(group(&bench, "mail")["blockedKeys"][0]["parked"], true);
}

#[test]
fn events_that_were_open_when_a_command_ended_are_not_blamed_for_it() {
    let events: Vec<String> =
        (0..40).map(|n| registered(&format!("e{n}"), &format!("u{n}"), "2024-01-15T10:30:00Z")).collect();
    let bench = Bench::with(&events.join("\n"));
    // The command reads a batch before it answers. Every tenth event ends the command.
    let target = answering(&bench, r#"*5) echo "cannot take $id" >&2; exit 9 ;;"#);
    let args = ["consume", "mail", "--at", "start", "--max-retries", "1", "--target", &target];
    let said = bench.run(&[&args, &["--until-idle", "1s"][..]].concat()).exits(3);
    let said = said.says("handled 36 events").says("4 given up").says("are tried again one at a time");
    said.says("e5 (").says("exit status: 9: its stderr ends with: cannot take e5");
    let letters = bench.json(&["dead-letters", "list"]);
    let mut blamed: Vec<&str> = letters["deadLetters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["event"]["id"].as_str().unwrap())
        .collect();
    blamed.sort_unstable();
    assert_eq!(blamed, ["e15", "e25", "e35", "e5"]);
}

#[test]
fn a_command_may_be_run_for_each_event() {
    let bench = Bench::with(&some());
    bench.file("send-mail", "#!/bin/sh\ngrep -o '\"id\":\"[^\"]*\"' | head -1 >> sent\n! grep -q e3 sent || { echo no mailbox >&2; exit 67; }\n");
    let allowed = std::process::Command::new("chmod").arg("+x").arg(bench.path("send-mail")).status();
    assert!(allowed.unwrap().success());
    let args = ["consume", "mail", "--at", "start", "--target", "exec1:./send-mail", "--concurrency", "1"];
    let said = bench.run(&[&args[..], &["--max-retries", "0"], &UNTIL_IDLE].concat()).exits(3);
    let said = said.says("16 of 16 segments, to exec1:./send-mail");
    said.says("e3 (").says("the command failed: exit status: 67: its output ends with: no mailbox");
    let bench = Bench::with(&some());
    bench.run(&["consume", "mail", "--target", "exec1:./no-such"]).exits(1).says("no-such");
}

#[test]
fn what_a_command_writes_that_is_no_answer_is_reported() {
    let bench = Bench::with(&registered("e1", "user-123", "2024-01-15T10:30:00Z"));
    let args = ["consume", "mail", "--at", "start", "--timeout", "500ms", "--max-retries", "0"];
    let more = ["--target", "exec:sh -c 'while read line; do echo sent; sleep 60; done'"];
    let said = bench.run(&[&args[..], &more, &UNTIL_IDLE].concat()).exits(3);
    let said = said.says("warning: the command wrote a line that is no answer: sent");
    said.says("did not answer within 500ms: it wrote a line that is no answer: sent");
}

#[test]
fn a_command_does_not_get_passwords_of_stores() {
    for kind in ["exec1", "exec"] {
        let bench = Bench::with(&registered("e1", "user-123", "2024-01-15T10:30:00Z"))
            .env("EVENT_REPLAY_REDIS_PASSWORD", "s3cret")
            .env("EVENT_REPLAY_OLD_REDIS", "redis://:s3cret@old")
            .env("REDIS_URL", "redis://:s3cret@other")
            .env("MY_OWN", "mine");
        let target = format!("{kind}:sh -c 'env > seen-{kind}; exit 0'");
        let args = ["consume", "mail", "--at", "start", "--max-retries", "0", "--target", &target];
        bench.run(&[&args[..], &UNTIL_IDLE].concat());
        let seen = std::fs::read_to_string(bench.path(&format!("seen-{kind}"))).unwrap();
        assert!(seen.contains("MY_OWN=mine") && !seen.contains("s3cret"), "{seen}");
    }
}

#[test]
fn what_takes_too_long_fails() {
    let bench = Bench::with(&registered("e1", "user-123", "2024-01-15T10:30:00Z"));
    let args = ["consume", "mail", "--at", "start", "--timeout", "100ms", "--max-retries", "0"];
    let more = ["--target", "exec:sh -c 'while read line; do sleep 60; done'"];
    let said = bench.run(&[&args[..], &more, &UNTIL_IDLE].concat()).exits(3);
    said.says("e1 (").says("handled 0 events, 1 failed attempt, 1 given up");
}

#[test]
fn an_endpoint_is_posted_to_and_its_answers_count() {
    let bench = Bench::with(&some());
    let (url, requests) = serve(|id| if id == "e2" { "422 Unprocessable Content" } else { "204 No Content" });
    let args = ["consume", "mail", "--at", "start", "--target", &url];
    let said = bench.run(&[&args, &UNTIL_IDLE[..]].concat()).exits(3);
    said.says("e2 (").says("422").says("handled 4 events");
    let mut seen: Vec<(String, String)> = requests.try_iter().collect();
    seen.sort_unstable();
    let posted: Vec<&str> = seen.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(posted, ALL);
    let body: Value = serde_json::from_str(&seen[0].1).unwrap();
    assert_eq!((&body["event"]["id"], &body["delivery"]["group"]), (&"e1".into(), &"mail".into()));
}

#[test]
fn another_consumer_takes_over_from_one_that_was_killed() {
    let bench = Bench::with(&some());
    let doomed = bench.consume(&["mail", "--name", "doomed", "--lease", "500ms"]);
    doomed.kill();
    bench.pipe(&["publish"], registered("e6", "user-6", "2024-02-02T00:00:00Z")).ok();
    let heir = bench.consume(&["mail", "--name", "heir", "--lease", "500ms"]);
    heir.prints_lines(1);
    assert_eq!(ids(&heir.stop().ok().lines()), ["e6"]);
}

#[test]
fn a_second_signal_ends_it_at_once_and_open_deliveries_are_redelivered() {
    let bench = Bench::with(&registered("e1", "user-123", "2024-01-15T10:30:00Z"));
    let slow = "exec:sh -c 'while read line; do echo $$ > begun; sleep 600; done'";
    let consumer = bench.start(&["consume", "mail", "--at", "start", "--target", slow, "--lease", "300ms"]);
    common::consumer::wait("the event", || {
        bench.path("begun").exists().then_some(()).ok_or_else(String::new)
    });
    consumer.signal("INT");
    consumer.says("Ctrl-C again ends at once");
    consumer.signal("INT");
    consumer.ends().exits(1).says("what was being handled is delivered again");
    let command = std::fs::read_to_string(bench.path("begun")).unwrap();
    common::consumer::wait("the end of the command", || {
        let alive = std::process::Command::new("kill").args(["-0", command.trim()]).output().unwrap();
        if alive.status.success() { Err("it outlives its consumer".to_owned()) } else { Ok(()) }
    });
    let again = bench.run(&[&["consume", "mail"], &UNTIL_IDLE[..]].concat()).ok();
    assert_eq!(ids(&again.lines()), ["e1"]);
}

#[test]
fn a_consumer_applies_the_retention_of_the_settings_while_it_runs() {
    let bench = Bench::with(&some()).env("EVENT_REPLAY_RETENTION_MAX_EVENTS", "2");
    assert_eq!(bench.json(&["stats"])["events"], 5, "nothing was appended under the rule");
    let consumer = bench.consume(&["mail"]);
    common::consumer::wait("retention", || match bench.json(&["stats"])["events"].as_u64() {
        Some(2) => Ok(()),
        left => Err(format!("{left:?}")),
    });
    consumer.stop().ok();
}

#[test]
fn a_group_that_is_deleted_ends_its_consumers() {
    let bench = Bench::with(&some());
    let consumer = bench.consume(&["mail", "--lease", "300ms"]);
    bench.run(&["groups", "delete", "mail", "--yes"]).ok();
    consumer.ends().ok().says("group mail was deleted");
}

#[test]
fn idle_waits_for_what_others_of_the_group_have_in_hand() {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| {
        common::prepared::group(store, domain::group::GroupSpec::new("mail"), true).await;
        // This consumer holds every segment for a second, and handles no event.
        leases(store, "mail", std::time::Duration::from_secs(1)).await;
    });
    assert_eq!(group(&bench, "mail")["consumers"][0]["name"], CONSUMER);
    let said = bench.run(&["consume", "mail", "--until-idle", "0s"]).ok();
    assert_eq!(sorted(&said.lines()), ALL);
}

#[test]
fn a_scheduled_event_comes_when_it_is_due() {
    let bench = Bench::with(&some());
    let consumer = bench.consume(&["mail"]);
    bench.pipe(&["publish", "--delay", "300ms"], registered("late", "u", "2024-02-02T00:00:00Z")).ok();
    consumer.prints_lines(1);
    assert_eq!(ids(&consumer.stop().ok().lines()), ["late"]);
}

#[test]
fn a_misspelt_group_is_not_made_beside_others() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "mail"]).ok();
    let refused = bench.run(&[&["consume", "mailr", "--at", "start"], &UNTIL_IDLE[..]].concat()).exits(2);
    refused.says("there is no group \"mailr\"; did you mean mail?").says("add --create");
    bench.run(&["consume", "billing"]).exits(2).says("there is no group \"billing\"; there are: mail");
    assert_eq!(bench.json(&["groups", "list"]).as_array().unwrap().len(), 1);
    let made = bench.run(&[&["consume", "billing", "--at", "start", "--create"], &UNTIL_IDLE[..]].concat());
    made.ok().says("created group billing at start");
    let there = bench.run(&[&["consume", "mail", "--create"], &UNTIL_IDLE[..]].concat());
    there.ok().says("joined group mail");
}

#[test]
fn of_consumers_that_start_together_one_says_that_it_made_the_group() {
    let bench = Bench::with(&some());
    let args = ["consume", "mail", "--at", "start", "--until-idle", "1s"];
    let consumers: Vec<_> = (0..6).map(|_| bench.start(&args)).collect();
    let said: Vec<_> = consumers.into_iter().map(|consumer| consumer.ends().ok()).collect();
    let makers = said.iter().filter(|said| said.stderr.contains("created group mail at start")).count();
    assert_eq!(makers, 1, "{said:#?}");
    assert_eq!(said.iter().map(|said| said.lines().len()).sum::<usize>(), 5, "none of them lost the start");
}

#[test]
fn what_makes_no_sense_is_refused_and_makes_no_group() {
    let bench = Bench::with(&some());
    for (args, what) in [
        (&["--target", "groups"][..], "a consumer is what a group hands its events to"),
        (&["--target", "nowhere"], "there is no target"),
        (&["--target", "exec:"], "the command is empty"),
        (&["--target", "ftp://me:secret@host"], "only http and https"),
        (&["--concurrency", "0"], "from 1 to 64"),
        (&["--lease", "1ms"], "from 100ms"),
        (&["--timeout", "0"], "a timeout is"),
        (&["--at", "nowhere"], "is not a checkpoint or a time"),
        (&["--segments", "0"], "from 1 to 1024"),
        (&["--key", "user"], "entity:KIND"),
        (&["--until-idle", "soon"], "a duration is"),
    ] {
        let said = bench.run(&[&["consume", "mail"], args].concat());
        assert!(matches!(said.code, 1 | 2), "{args:?}: {said:#?}");
        let said = said.says(what);
        assert!(!said.stderr.contains("secret"), "{said:#?}");
    }
    bench.run(&["consume", "mail", "--target", "exec:no-such-program"]).exits(1).says("no-such-program");
    assert_eq!(bench.json(&["groups", "list"]), Value::Array(vec![]));
    Bench::new().run(&["consume", "mail"]).exits(1).says("there is no store");
    bench.run(&["groups", "create", "mail", "--key", "all"]).ok();
    bench.run(&["consume", "mail", "--key", "event"]).exits(1).says("frozen");
    let joined = bench.run(&[&["consume", "mail", "--at", "start"], &UNTIL_IDLE[..]].concat()).ok();
    assert_eq!(joined.stdout, "", "a group that exists stays where it is");
    joined.says("continues from its position");
}

/// Starts a server that answers each event by its id, and sends the received requests to a channel.
fn serve(answer: fn(&str) -> &'static str) -> (String, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, tell) = (connection.unwrap(), tell.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(connection.try_clone().unwrap());
                let mut writer = connection;
                while let Some((id, body)) = request(&mut reader) {
                    let status = answer(&id);
                    tell.send((id, body)).ok();
                    let said = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                    writer.write_all(said.as_bytes()).unwrap();
                }
            });
        }
    });
    (url, told)
}

/// Returns the id in the headers of a request, and its body. Returns none at the end of the connection.
fn request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let (mut id, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("event-id", value)) => id = value.to_owned(),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((id, String::from_utf8(body).unwrap()))
}
