//! Checks every text that a user reads against the rules for words.

use std::{fs, path::Path};

use clap::{Arg, Command};
use words::{check_text, literals};

use crate::help;

/// Crates whose texts no user reads.
const FOR_TESTS: &[&str] = &["conformance", "servers", "words"];

/// A text and its origin.
struct Text {
    from: String,
    text: String,
}

/// Returns the faults of a text. Indented lines are code and not prose. The parts of a list are not prose either.
fn faults(text: &str) -> Vec<String> {
    let prose: String =
        text.lines().filter(|line| !line.starts_with("  ")).map(|line| format!("{line}\n")).collect();
    prose
        .split("\n\n")
        .flat_map(|part| check_text(&without_values(part)))
        .map(|found| found.to_string())
        .collect()
}

/// Replaces each value in braces with one word of code.
fn without_values(text: &str) -> String {
    let mut plain = String::new();
    for (n, part) in text.split('{').enumerate() {
        match part.split_once('}') {
            Some((_, rest)) if n > 0 => plain.extend(["`value`", rest]),
            _ => plain.push_str(part),
        }
    }
    plain
}

/// Returns whether a text is no prose: an SQL statement, or a list of commands.
fn is_code(text: &str) -> bool {
    let is_list = text.split_whitespace().count() > 100 && !text.contains(['.', ',', ';', ':']);
    is_list
        || ["INSERT ", "SELECT ", "UPDATE ", "DELETE ", "CREATE "]
            .iter()
            .any(|sql| text.trim_start().starts_with(sql))
}

/// Collects every help text of a command and of its subcommands.
fn help_texts(command: &Command, path: &str, found: &mut Vec<Text>) {
    let path = format!("{path} {}", command.get_name());
    let mut add = |text: Option<String>, what: &str| {
        found.extend(text.map(|text| Text { from: format!("{path}: {what}"), text }));
    };
    add(command.get_about().map(ToString::to_string), "about");
    add(command.get_long_about().map(ToString::to_string), "long about");
    add(command.get_after_help().map(ToString::to_string), "after help");
    for argument in command.get_arguments() {
        add(argument.get_help().map(ToString::to_string), argument.get_id().as_str());
        add(argument.get_long_help().map(ToString::to_string), argument.get_id().as_str());
        for value in possible(argument) {
            add(Some(value), argument.get_id().as_str());
        }
    }
    for below in command.get_subcommands() {
        help_texts(below, &path, found);
    }
}

fn possible(argument: &Arg) -> Vec<String> {
    argument
        .get_possible_values()
        .iter()
        .filter_map(|value| value.get_help().map(ToString::to_string))
        .collect()
}

/// Returns the texts in the sources of every crate.
fn source_texts() -> Vec<Text> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for folder in fs::read_dir(&crates).unwrap() {
        let folder = folder.unwrap().path();
        if FOR_TESTS.iter().any(|name| folder.ends_with(name)) {
            continue;
        }
        for file in rust_files(&folder.join("src")) {
            if file.ends_with("words.rs") {
                continue;
            }
            let source = fs::read_to_string(&file).unwrap();
            let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            // A text of one or two words is a name.
            let texts = literals(source)
                .into_iter()
                .filter(|(_, text)| text.split_whitespace().count() > 2 && !is_code(text));
            found.extend(texts.map(|(_, text)| Text { from: file.display().to_string(), text }));
        }
    }
    found
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|end| end == "rs") => files.push(path),
                false => {}
            }
        }
    }
    files
}

#[test]
fn every_text_that_a_user_reads_is_plain() {
    let mut texts = source_texts();
    let count = texts.len();
    assert!(count > 500, "the sources have only {count} texts");
    help_texts(&help::command(), "", &mut texts);
    assert!(texts.len() > count + 300, "the help has only {} texts", texts.len() - count);
    let said: Vec<String> = texts
        .iter()
        .flat_map(|Text { from, text }| {
            faults(text).into_iter().map(move |fault| format!("{from} {fault}\n    {text}"))
        })
        .collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}

#[test]
fn planted_sentences_are_found() {
    for planted in [
        "this would drop 3 events, and nobody is there to ask",
        "Let the file be written anew",
        "27 handled, 0 back: what is back is a dead letter",
        "Redis answered in a shape that is not ours",
        "the consumer goes on when the store answers",
        "its id is refused for good",
        "next: mend what failed",
        "2 schemas, 0 of them unsound",
        "no consumer is alive, and nothing waits for one",
        "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f",
    ] {
        assert!(!faults(planted).is_empty(), "{planted}");
    }
    assert!(faults("the store does not answer: connection refused; check the address").is_empty());
}
