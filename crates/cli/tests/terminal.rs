//! The output on a terminal: tables that fit, colours, times, progress and the pager.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{
    Bench,
    prepared::{give_up, group, on_store},
    registered, some,
};
use domain::group::GroupSpec;
use unicode_width::UnicodeWidthStr;

/// Returns a store with a group that has dead letters, and with two replays.
fn prepared() -> Bench {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| {
        group(store, GroupSpec::new("mail-of-the-learning-platform"), true).await;
        let failures = [
            (
                "e1",
                "the mailbox of ann@example.com is full: 452 4.2.2 try again later, or ask its owner to clean up",
            ),
            ("e2", "no such account"),
        ];
        give_up(store, "mail-of-the-learning-platform", &failures, false).await;
    });
    for _ in 0..2 {
        bench.run(&["replay", "--all", "--target", "exec1:true", "--delay", "0"]).ok();
    }
    bench
}

const TABLES: [&[&str]; 8] = [
    &["list"],
    &["groups", "list"],
    &["groups", "show", "mail-of-the-learning-platform"],
    &["dead-letters", "list"],
    &["dead-letters", "list", "--by", "fingerprint"],
    &["replays", "list"],
    &["health"],
    &["stats"],
];

#[test]
fn tables_fit_terminals_of_80_100_and_200_columns() {
    let bench = prepared();
    for columns in [80, 100, 200] {
        for args in TABLES {
            let seen = bench.on_terminal(columns, args);
            for line in &seen.lines {
                assert!(line.width() <= usize::from(columns), "{args:?} at {columns}: {line}");
            }
            assert!(seen.lines.len() >= 2, "{args:?}: {seen:#?}");
        }
        let letters = bench.on_terminal(columns, &["dead-letters", "list"]).ok();
        assert_eq!(letters.lines.iter().filter(|line| line.contains("✗ open")).count(), 2, "{letters:#?}");
        let replays = bench.on_terminal(columns, &["replays", "list"]).ok();
        assert_eq!(
            replays.lines.iter().filter(|line| line.contains("✓ completed")).count(),
            2,
            "{replays:#?}"
        );
    }
}

#[test]
fn a_short_id_names_its_replay_and_its_dead_letter() {
    let bench = prepared();
    let letters = bench.on_terminal(80, &["dead-letters", "list"]).ok();
    let short = letters.first_cell("✗ open");
    let whole = bench.json(&["dead-letters", "list"])["deadLetters"][0]["id"].as_str().unwrap().to_owned();
    assert!(whole.starts_with(&short) && short.len() < whole.len(), "{short} {whole}");
    bench.run(&["dead-letters", "show", &short]).ok().prints(&whole);
    bench.run(&["dead-letters", "redrive", &short, "--dry-run"]).ok().prints("would redrive 1 dead letter");
    bench
        .run(&["dead-letters", "discard", &short, "--reason", "test"])
        .ok()
        .prints("discarded 1 dead letter");

    let replays = bench.on_terminal(80, &["replays", "list"]).ok();
    let short = replays.first_cell("✓ completed");
    let whole = bench.json(&["replays", "list"])[0]["id"].as_str().unwrap().to_owned();
    assert!(whole.starts_with(&short) && short.len() < whole.len(), "{short} {whole}");
    bench.run(&["replays", "show", &short]).ok().prints(&whole);
}

#[test]
fn a_prefix_of_several_dead_letters_is_refused() {
    let bench = prepared();
    let id = bench.json(&["dead-letters", "list"])["deadLetters"][0]["id"].as_str().unwrap().to_owned();
    bench.run(&["dead-letters", "show", &id[..8]]).exits(1).says("several dead letters begin with");
    bench.run(&["dead-letters", "show", "ffffffff"]).exits(1).says("no dead letter has the id");
}

#[test]
fn wide_shows_all_and_a_pipe_is_never_cut() {
    let bench = prepared();
    let narrow = bench.on_terminal(80, &["dead-letters", "list"]).ok().shows("…");
    assert!(narrow.lines.iter().any(|line| line.contains("--wide shows all")), "{narrow:#?}");
    let id = bench.json(&["dead-letters", "list"])["deadLetters"][0]["id"].as_str().unwrap().to_owned();
    let error = "452 4.2.2 try again later, or ask its owner to clean up";
    let wide = bench.on_terminal(80, &["dead-letters", "list", "--wide"]).ok().shows(&id).shows(error);
    assert!(!wide.raw.contains('…'), "{wide:#?}");
    let piped = bench.run(&["dead-letters", "list"]).ok().prints(&id).prints(error);
    assert!(!piped.stdout.contains(['…', '✗', '\u{1b}']), "{piped:#?}");
}

#[test]
fn lists_say_how_long_ago_and_show_says_when() {
    let bench = Bench::new();
    let now = jiff::Timestamp::now();
    bench.pipe(&["publish"], registered("e1", "user-1", &now.to_string())).ok();
    let today = now.strftime("%Y-%m-%dT").to_string();
    let list = bench.on_terminal(100, &["list"]).ok().shows("just now");
    assert!(!list.raw.contains(&today), "{list:#?}");
    bench.on_terminal(100, &["list", "--wide"]).ok().shows(&today);
    bench.on_terminal(100, &["show", "e1"]).ok().shows(&today);
    bench.run(&["list"]).ok().prints(&today);
    bench.on_terminal(100, &["checkpoint", "here"]).ok();
    bench.on_terminal(100, &["checkpoints", "list"]).ok().shows("just now");
    bench.on_terminal(100, &["checkpoints", "show", "here"]).ok().shows(&today);
}

#[test]
fn tables_have_milliseconds_at_most_and_counts_for_people() {
    let lines: Vec<String> =
        (0..1750).map(|n| registered(&format!("e{n}"), "user-1", "2024-01-15T10:30:00.123456Z")).collect();
    let bench = Bench::with(&lines.join("\n"));
    let stats = bench.run(&["stats"]).ok().prints("1,750").prints("2024-01-15T10:30:00.123Z").prints(" KiB");
    assert!(!stats.stdout.contains(".123456"), "{stats:#?}");
    assert_eq!(bench.json(&["stats"])["oldest"], "2024-01-15T10:30:00.123456Z");
}

#[test]
fn colours_are_where_they_are_wanted() {
    let bench = prepared();
    let list = ["dead-letters", "list"];
    let has = |text: &str| text.contains("\u{1b}[");
    let is_red = |text: &str| text.contains("\u{1b}[1m\u{1b}[31m") || text.contains("\u{1b}[31");
    assert!(is_red(&bench.on_terminal(100, &list).ok().raw));
    assert!(!has(&bench.on_terminal(100, &[&list[..], &["--color", "never"]].concat()).ok().raw));
    assert!(!has(&bench.run(&list).ok().stdout));
    assert!(has(&bench.run(&[&list[..], &["--color", "always"]].concat()).ok().stdout));
    let bench = bench.env("NO_COLOR", "1");
    assert!(!has(&bench.on_terminal(100, &list).ok().raw));
    let bench = bench.without("NO_COLOR").env("CLICOLOR_FORCE", "1");
    assert!(has(&bench.run(&list).ok().stdout));
}

#[test]
fn the_log_has_no_colours_in_a_pipe() {
    let bench = Bench::with(&some()).env("EVENT_REPLAY_LOG", "trace");
    let said = bench.run(&["consume", "mail", "--at", "start", "--until-idle", "200ms"]).ok();
    assert!(said.stderr.contains("opened the store"), "{said:#?}");
    assert!(!said.stderr.contains('\u{1b}'), "{said:#?}");
    let bench = Bench::with(&some());
    let said = bench.run(&["-v", "consume", "mail", "--at", "start", "--until-idle", "200ms"]).ok();
    assert!(said.stderr.contains("INFO") && said.stderr.contains("opened the store"), "{said:#?}");
    assert!(!said.stderr.contains('\u{1b}') && !said.stderr.contains("DEBUG"), "{said:#?}");
    assert!(bench.run(&["-vv", "list"]).ok().stderr.contains("DEBUG"));
    assert!(!bench.run(&["list"]).ok().stderr.contains("opened the store"));
}

#[test]
fn long_output_goes_to_the_pager() {
    let lines: Vec<String> =
        (0..60).map(|n| registered(&format!("e{n}"), "user-1", "2024-01-15T10:30:00Z")).collect();
    let bench = Bench::with(&lines.join("\n")).env("EVENT_REPLAY_PAGER", "tee paged");
    bench.on_terminal(100, &["list", "-n", "10"]).ok().shows("e59");
    assert!(!bench.path("paged").exists(), "what fits needs no pager");
    bench.on_terminal(100, &["list", "-n", "60", "--no-pager"]).ok().shows("e59");
    assert!(!bench.path("paged").exists());
    bench.on_terminal(100, &["list", "-n", "60"]).ok().shows("e59");
    assert_eq!(std::fs::read_to_string(bench.path("paged")).unwrap().matches("user.registered").count(), 60);
    let piped = bench.run(&["list", "-n", "60"]).ok();
    assert_eq!(piped.stdout.lines().count(), 61);
}

#[test]
fn quiet_leaves_results_and_errors() {
    let bench = Bench::new();
    bench.run(&["init"]).ok();
    let said = bench.run(&["list"]).ok().says("no event matches");
    assert_eq!(said.stdout, "");
    assert_eq!(bench.run(&["list", "-q"]).ok().stderr, "");
    bench.run(&["show", "e1", "-q"]).exits(1).says("no event has the id");
}

#[test]
fn fields_are_picked_from_json_and_shown_as_a_table() {
    let bench = prepared();
    let json = bench.run(&["list", "-o", "json", "--fields", "event.id,position", "-n", "1"]).ok().json();
    assert_eq!(json["events"][0].to_string(), r#"{"event.id":"event-456789","position":"0:5"}"#);
    let rows = bench.run(&["groups", "list", "-o", "ndjson", "--fields", "name,lag"]).ok();
    assert_eq!(rows.stdout, "{\"name\":\"mail-of-the-learning-platform\",\"lag\":0}\n");
    let table = bench.run(&["list", "--fields", "event.id,event.type"]).ok();
    assert_eq!(table.stdout.lines().next().unwrap(), " EVENT.ID      EVENT.TYPE");
    assert_eq!(table.stdout.lines().count(), 6);
    bench
        .run(&["groups", "list", "--fields", "name,lagg"])
        .exits(2)
        .says("no row has a member \"lagg\"")
        .says("lag, lane");
    bench.run(&["list", "--fields", "a,,b"]).exits(2).says("empty name");
}

#[test]
fn jq_is_applied_to_the_json() {
    let bench = prepared();
    let ids = bench.run(&["list", "--jq", ".events[].event.id"]).ok();
    assert_eq!(ids.stdout, "event-456789\ne4\ne3\ne2\ne1\n");
    let count = bench
        .run(&["list", "-o", "ndjson", "--jq", "select(.event.type == \"payment.processed\") | .position"])
        .ok();
    assert_eq!(count.stdout, "0:4\n0:3\n");
    bench.run(&["list", "--jq", ".["]).exits(2).says("not a valid expression");
    bench.run(&["list", "--jq", ".a", "--fields", "b"]).exits(2);
}

#[test]
fn a_watched_list_is_shown_again_until_it_is_interrupted() {
    let bench = prepared();
    let watching = bench.start(&["groups", "list", "--watch", "100ms", "--output", "ndjson"]);
    watching.prints_lines(3);
    let said = watching.stop().ok();
    assert!(said.lines().iter().all(|row| row["name"] == "mail-of-the-learning-platform"));
    for args in [&["stats", "--watch"][..], &["dead-letters", "list", "--watch", "1s"]] {
        let mut terminal = bench.terminal(100, env!("CARGO_BIN_EXE_event-replay"), args);
        terminal.shows("a first picture", |screen| screen.contains("registered") || screen.contains("open"));
        terminal.types("\u{3}");
        assert_eq!(terminal.ends().code, 0);
    }
}

#[test]
fn progress_says_how_much_is_done_how_fast_and_how_long_it_takes() {
    let lines: Vec<String> =
        (0..200).map(|n| registered(&format!("e{n}"), "user-1", "2024-01-15T10:30:00Z")).collect();
    let bench = Bench::with(&lines.join("\n"));
    let args = ["replay", "--all", "--target", "exec1:true", "--batch-size", "1", "--delay", "100ms"];
    let mut terminal = bench.terminal(100, env!("CARGO_BIN_EXE_event-replay"), &args);
    let screen = terminal.shows("progress", |screen| screen.contains("/s, ") && screen.contains(" left"));
    let line = screen.lines().find(|line| line.contains(" left")).unwrap();
    assert!(line.contains("replaying") && line.contains(" of 200, "), "{line}");
    let rate = line.split(", ").find(|part| part.ends_with("/s")).unwrap().trim_end_matches("/s");
    let digits = rate.trim_start_matches(['0', '.']).chars().filter(char::is_ascii_digit);
    assert!(digits.clone().count() <= 3, "two digits that count, and zeros: {rate}");
    let id = bench.json(&["replays", "list"])[0]["id"].as_str().unwrap().to_owned();
    bench.run(&["replays", "pause", &id]).ok();
    let paused = terminal.shows("that it is paused", |screen| {
        screen.lines().any(|line| line.contains("paused") && line.contains(" of 200"))
    });
    let line = paused.lines().find(|line| line.contains(" of 200")).unwrap();
    assert!(!line.contains(" left") && !line.contains("/s"), "{line}");
    bench.run(&["replays", "cancel", &id]).ok();
    terminal.types("");
    assert_ne!(terminal.ends().code, 0);
}

#[test]
fn a_consumer_shows_its_lag() {
    let lines: Vec<String> =
        (0..200).map(|n| registered(&format!("e{n}"), "user-1", "2024-01-15T10:30:00Z")).collect();
    let bench = Bench::with(&lines.join("\n"));
    let args = ["consume", "mail", "--at", "start", "--target", "exec1:sleep 0.05", "--concurrency", "1"];
    let mut terminal = bench.terminal(120, env!("CARGO_BIN_EXE_event-replay"), &args);
    terminal
        .shows("its lag", |screen| screen.contains("mail: 16 segments, ") && screen.contains(" pending, "));
    terminal.types("\u{3}");
    assert_eq!(terminal.ends().code, 0);
}
