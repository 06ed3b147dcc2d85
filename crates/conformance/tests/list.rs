//! The list that adapters run contains every law.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn laws_in(source: &str) -> BTreeSet<String> {
    let names = source.split("pub async fn ").skip(1);
    names.map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn every_law_is_on_the_list() {
    let mut written = laws_in(&fs::read_to_string(src().join("model.rs")).unwrap());
    written.extend(laws_of("laws"));
    assert!(written.len() > 50, "{written:?}");
    assert_eq!(listed_in("lib.rs"), written);
}

#[test]
fn every_law_of_the_engine_is_on_the_list() {
    let written = laws_of("engine_laws");
    assert!(written.len() > 50, "{written:?}");
    assert_eq!(listed_in("engine_suite.rs"), written);
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn laws_of(folder: &str) -> BTreeSet<String> {
    let files = fs::read_dir(src().join(folder)).unwrap();
    files.flat_map(|file| laws_in(&fs::read_to_string(file.unwrap().path()).unwrap())).collect()
}

fn listed_in(file: &str) -> BTreeSet<String> {
    let suite = fs::read_to_string(src().join(file)).unwrap();
    suite
        .lines()
        .map(str::trim)
        .filter_map(|line| line.strip_suffix(','))
        .filter(|name| {
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        })
        .map(str::to_owned)
        .collect()
}
