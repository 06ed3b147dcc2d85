//! No law is left off the list that adapters run.

use std::{collections::BTreeSet, fs, path::Path};

fn laws_in(source: &str) -> BTreeSet<String> {
    let names = source.split("pub async fn ").skip(1);
    names.map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn every_law_is_on_the_list() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut written = laws_in(&fs::read_to_string(src.join("model.rs")).unwrap());
    for file in fs::read_dir(src.join("laws")).unwrap() {
        written.extend(laws_in(&fs::read_to_string(file.unwrap().path()).unwrap()));
    }
    let suite = fs::read_to_string(src.join("lib.rs")).unwrap();
    let listed: BTreeSet<String> = suite
        .lines()
        .map(str::trim)
        .filter_map(|line| line.strip_suffix(','))
        .filter(|name| {
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        })
        .map(str::to_owned)
        .collect();
    assert!(written.len() > 50, "{written:?}");
    assert_eq!(listed, written);
}
