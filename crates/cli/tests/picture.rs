//! The picture of the terminal in README.md, `docs/terminal.svg`, comes from a real run. The test checks that it still
//! looks like one.
//!
//! `EVENT_REPLAY_WRITE=1 cargo test -p event-replay-cli --test picture` writes it again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::{fmt::Write as _, fs, path::Path};

use common::{
    Bench,
    prepared::{give_up, group, on_store},
    some,
};
use domain::group::GroupSpec;

const COLUMNS: u16 = 100;
/// `LINE` is the height of a line in pixels, and `CHARACTER` is the width of a character.
const LINE: usize = 20;
const CHARACTER: usize = 8;
const COMMANDS: [&[&str]; 5] = [
    &["list", "--limit", "4"],
    &["groups", "list"],
    &["dead-letters", "list"],
    &["replay", "--all", "--target", "exec1:true", "--delay", "0"],
    &["replays", "list"],
];

/// Returns a store with two groups. One of the groups has dead letters.
fn bench() -> Bench {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| {
        group(store, GroupSpec::new("mailer"), true).await;
        group(store, GroupSpec::new("billing"), false).await;
        let failures = [("e1", "452 4.2.2 the mailbox is full"), ("e2", "550 5.1.1 no such account")];
        give_up(store, "mailer", &failures, false).await;
    });
    bench
}

/// Returns the lines of a session, with their colours as escape sequences.
fn session() -> Vec<String> {
    let bench = bench();
    let mut lines = Vec::new();
    for args in COMMANDS {
        lines.push(format!(
            "\u{1b}[1m$ event-replay {}\u{1b}[0m",
            shlex::try_join(args.iter().copied()).unwrap()
        ));
        let seen = bench.on_terminal(COLUMNS, args);
        // Only the last state of an overwritten line stays visible.
        let shown =
            seen.raw.lines().map(|line| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default());
        lines.extend(
            shown.map(|line| line.replace("\u{1b}[K", "").replace("\u{1b}[2K", "").trim_end().to_owned()),
        );
        lines.push(String::new());
    }
    lines.dedup_by(|one, other| one.is_empty() && other.is_empty());
    lines
}

/// Returns a line as text elements, each in one colour.
fn spans(line: &str) -> String {
    let (mut style, mut out) = (String::new(), String::new());
    for (n, part) in line.split('\u{1b}').enumerate() {
        let text =
            match (n, part.strip_prefix('[').and_then(|rest| rest.split_once(|c: char| c.is_alphabetic()))) {
                (0, _) => part,
                (_, Some((codes, text))) => {
                    for code in codes.split(';') {
                        match code {
                            "" | "0" => style.clear(),
                            "1" => style.push_str(r#" font-weight="bold""#),
                            "31" => style.push_str(r##" fill="#ff7b72""##),
                            "32" => style.push_str(r##" fill="#7ee787""##),
                            "33" => style.push_str(r##" fill="#e3b341""##),
                            _ => {}
                        }
                    }
                    text
                }
                (_, None) => "",
            };
        if !text.is_empty() {
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            write!(out, "<tspan{style}>{text}</tspan>").unwrap();
        }
    }
    out
}

fn svg(lines: &[String]) -> String {
    let (width, height) = (CHARACTER * usize::from(COLUMNS) + 40, LINE * lines.len() + 40);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"monospace\" \
         font-size=\"13.3\" fill=\"#e6edf3\">\n<title>event-replay on a terminal of {COLUMNS} columns</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n"
    );
    for (line, n) in lines.iter().zip(1..) {
        let y = 20 + LINE * n - 4;
        writeln!(out, "<text x=\"20\" y=\"{y}\" xml:space=\"preserve\">{}</text>", spans(line)).unwrap();
    }
    out + "</svg>\n"
}

/// Returns a picture without the parts that differ between runs.
///
/// These parts are words with digits, spaces, the division of a line, and the room beside ids of different lengths. A
/// row keeps its first words. Commands and headings keep all words.
fn form(svg: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let mut text = String::new();
        let mut is_tag = false;
        for c in line.chars() {
            match c {
                '<' => is_tag = true,
                '>' => is_tag = false,
                c if !is_tag => text.push(c),
                _ => {}
            }
        }
        let words = text.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
        let words: Vec<&str> = words.filter(|word| !word.ends_with('…')).collect();
        let is_whole = words.first().is_some_and(|first| *first == "$" || *first == first.to_uppercase());
        let kept = if is_whole { words.len() } else { words.len().min(5) };
        words[..kept].join(" ")
    };
    svg.lines().filter(|line| line.starts_with("<text")).map(of_line).collect()
}

#[test]
fn the_picture_of_the_terminal_is_what_the_commands_print() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/terminal.svg");
    let now = svg(&session());
    if std::env::var_os("EVENT_REPLAY_WRITE").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap();
    assert_eq!(form(&stored), form(&now), "run this test with EVENT_REPLAY_WRITE=1 to draw it again");
}
