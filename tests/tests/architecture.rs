//! The dependency rules of the workspace, checked against `cargo metadata`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The workspace crates that each crate may use as normal dependencies. Tests may use more, see below.
const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("generator", &[]),
    ("servers", &[]),
    ("words", &[]),
    // A macro generates code, and calls no code of the workspace.
    ("derive", &[]),
    ("conformance", &["domain"]),
    ("conditions", &["domain"]),
    ("validation", &["domain"]),
    // The storage ports over an engine. The crate knows engines only through their port.
    ("store", &["domain"]),
    ("storage-memory", &["domain"]),
    ("storage-redis", &["domain"]),
    ("storage-sqlite", &["domain"]),
    ("stats", &["domain"]),
    ("trace-context", &["domain"]),
    ("bus", &["domain", "stats", "trace-context"]),
    ("replay", &["domain", "stats", "trace-context"]),
    ("targets", &["domain"]),
    ("migrate", &["domain"]),
    // The operations are in `event-replay`. The command line uses no storage crate.
    (
        "cli",
        &[
            "domain",
            "event-replay",
            "generator",
            "conditions",
            "validation",
            "bus",
            "migrate",
            "replay",
            "server",
            "targets",
        ],
    ),
    // A front end like the command line. Its operations are in `event-replay`, too.
    ("server", &["domain", "event-replay", "validation", "bus", "replay", "targets"]),
    (
        "event-replay",
        &[
            "derive",
            "domain",
            "conditions",
            "validation",
            "storage-memory",
            "storage-redis",
            "storage-sqlite",
            "store",
            "stats",
            "bus",
            "replay",
            "targets",
        ],
    ),
    ("tests", &["domain", "event-replay", "storage-redis", "storage-sqlite", "store", "bus"]),
    (
        "benches",
        &[
            "domain",
            "event-replay",
            "generator",
            "servers",
            "validation",
            "storage-memory",
            "storage-redis",
            "storage-sqlite",
            "store",
            "bus",
            "replay",
            "server",
        ],
    ),
];

/// Crates of storage backends. Only the composition root, tests and benchmarks may use them.
const ADAPTERS: &[&str] = &["storage-memory", "storage-sqlite", "storage-redis"];

/// External crates that the domain may use: pure libraries without I/O and without a runtime.
const PURE: &[&str] =
    &["async-trait", "base64", "crc32fast", "jiff", "serde", "serde_json", "sha2", "thiserror"];

struct Package {
    /// Dependencies by name. Test dependencies are separate.
    normal: BTreeSet<String>,
    dev: BTreeSet<String>,
}

fn workspace() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (short(&package["name"]), read(package))).collect()
}

fn short(name: &Value) -> String {
    name.as_str().unwrap().trim_start_matches("event-replay-").to_owned()
}

fn read(package: &Value) -> Package {
    let mut found = Package { normal: BTreeSet::new(), dev: BTreeSet::new() };
    for dependency in package["dependencies"].as_array().unwrap() {
        let names = if dependency["kind"] == "dev" { &mut found.dev } else { &mut found.normal };
        names.insert(short(&dependency["name"]));
    }
    found
}

#[test]
fn crates_use_only_what_their_layer_allows() {
    let workspace = workspace();
    let rules: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for (name, package) in &workspace {
        let allowed =
            rules.get(name.as_str()).unwrap_or_else(|| panic!("crate {name} has no rule yet: add one"));
        for used in package.normal.iter().filter(|used| workspace.contains_key(*used)) {
            assert!(allowed.contains(&used.as_str()), "{name} must not depend on {used}");
        }
    }
    assert_eq!(workspace.len(), rules.len(), "a rule names a crate that is gone");
}

#[test]
fn only_the_composition_root_names_adapters() {
    for (name, package) in workspace() {
        let may = ["event-replay", "tests", "benches"].contains(&name.as_str());
        for adapter in ADAPTERS {
            assert!(may || !package.normal.contains(*adapter), "{name} must not depend on {adapter}");
        }
    }
}

#[test]
fn the_domain_is_pure() {
    let workspace = workspace();
    for used in &workspace["domain"].normal {
        assert!(PURE.contains(&used.as_str()), "the domain must not depend on {used}: I/O, or a runtime?");
    }
    for used in ["tokio", "rusqlite", "redis"] {
        assert!(!workspace["domain"].dev.contains(used), "not even the domain's tests need {used}");
    }
}

/// A published package contains only the files of its own folder. An included file from another folder would be
/// missing.
#[test]
fn no_source_includes_a_file_of_another_folder() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates").canonicalize().unwrap();
    let mut included = 0;
    for own in fs::read_dir(&crates).unwrap().map(|entry| entry.unwrap().path()) {
        for file in rust_files(&own.join("src")) {
            let source = fs::read_to_string(&file).unwrap();
            let includes = source.split("include_str!(\"").chain(source.split("include_bytes!(\""));
            let names = includes.filter_map(|rest| rest.split_once("\")")).map(|(name, _)| name);
            for name in names.filter(|name| !name.contains(char::is_whitespace)) {
                let Ok(path) = file.parent().unwrap().join(name).canonicalize() else { continue };
                assert!(path.starts_with(&own), "{} includes {}", file.display(), path.display());
                included += 1;
            }
        }
    }
    assert!(included > 20, "only {included} includes were found");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (vec![], vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|end| end == "rs") => files.push(path),
                false => {}
            }
        }
    }
    files
}
