//! Completion in real shells.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail, what did not run is named"
)]

mod common;

use common::{
    Bench,
    prepared::{give_up, group, on_store},
    some,
};
use domain::group::GroupSpec;

fn prepared() -> Bench {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| {
        group(store, GroupSpec::new("mailer"), true).await;
        give_up(store, "mailer", &[("e1", "the mailbox is full")], false).await;
    });
    bench.run(&["checkpoint", "before-migration"]).ok();
    bench.run(&["replay", "--all", "--target", "exec1:true", "--delay", "0"]).ok();
    bench
}

/// Types each prefix and a tab, and waits for the completed word on the screen.
fn complete(bench: &Bench, shell: &str, args: &[&str], setup: &str) {
    let letter = bench.json(&["dead-letters", "list"])["deadLetters"][0]["id"].as_str().unwrap().to_owned();
    let replay = bench.json(&["replays", "list"])[0]["id"].as_str().unwrap().to_owned();
    let cases = [
        ("event-replay dead-let", "dead-letters".to_owned()),
        ("event-replay replays wa", "replays watch".to_owned()),
        ("event-replay groups show ma", "groups show mailer".to_owned()),
        ("event-replay recover befo", "recover before-migration".to_owned()),
        ("event-replay list --type payment.p", "--type payment.processed".to_owned()),
        ("event-replay list --source user-s", "--source user-service".to_owned()),
        (&format!("event-replay dead-letters show {}", &letter[..9]), letter),
        (&format!("event-replay replays show {}", &replay[..9]), replay),
        ("event-replay state paym", "state payment=pay-e".to_owned()),
        ("event-replay list --wid", "list --wide".to_owned()),
    ];
    let mut terminal = bench.terminal(200, shell, args);
    terminal.types(&format!("{setup}\n"));
    terminal.types("echo se''t-up\n");
    terminal.shows("that the shell is set up", |screen| screen.contains("set-up"));
    for (typed, whole) in cases {
        // This key clears the line before.
        terminal.types("\u{15}");
        terminal.types(&format!("{typed}\t"));
        terminal.shows(&format!("{whole:?} for {typed:?}"), |screen| screen.contains(&whole));
    }
    terminal.types("\u{15}exit\n");
    terminal.ends();
}

#[test]
fn bash_completes_commands_and_names_of_the_store() {
    complete(
        &prepared(),
        "/bin/bash",
        &["--norc", "--noprofile", "-i"],
        "source <(event-replay completions bash)",
    );
}

#[test]
fn zsh_completes_commands_and_names_of_the_store() {
    if !std::path::Path::new("/usr/bin/zsh").exists() {
        return println!("NOT RUN: completion in zsh, zsh is not installed");
    }
    let sourced = "autoload -Uz compinit; compinit -u; source <(event-replay completions zsh)";
    let in_folder = "mkdir functions; event-replay completions zsh > functions/_event-replay; \
                     fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u";
    for setup in [sourced, in_folder] {
        complete(&prepared(), "/usr/bin/zsh", &["-f", "-i"], setup);
    }
}

#[test]
fn fish_completes_commands_and_names_of_the_store() {
    if !std::path::Path::new("/usr/bin/fish").exists() {
        return println!("NOT RUN: completion in fish, fish is not installed");
    }
    complete(&prepared(), "/usr/bin/fish", &["--private", "-i"], "event-replay completions fish | source");
}

#[test]
fn a_store_that_is_not_there_offers_nothing_and_says_nothing() {
    let bench = Bench::new();
    let mut command = bench.command(&["--", "event-replay", "groups", "show", ""]);
    command.env("EVENT_REPLAY_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "3").env("_CLAP_IFS", "\n");
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(!String::from_utf8(output.stdout).unwrap().contains("mail"));
}
