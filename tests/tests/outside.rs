//! Crates outside the workspace use the public API. The tests build, test and run them as users would.
#![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

use std::{path::Path, process::Command};

/// Runs cargo for a crate. The lock file of the crate is committed.
fn cargo(folder: &str, arguments: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).arg("--quiet").current_dir(root.join(folder));
    cargo.env("CARGO_TARGET_DIR", root.join("target/outside"));
    // Uses the compiler beside this cargo. A proxy on the `PATH` would read the toolchain files of dependencies.
    for (variable, program) in [("RUSTC", "rustc"), ("RUSTDOC", "rustdoc")] {
        let program = Path::new(env!("CARGO")).with_file_name(program);
        if program.exists() {
            cargo.env(variable, program);
        }
    }
    let output = cargo.output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "cargo {arguments:?}: {said}");
}

#[test]
fn a_crate_outside_the_workspace_builds_runs_and_tests_a_service() {
    cargo("tests/outside", &["test", "--locked"]);
    cargo("tests/outside", &["run", "--locked"]);
}

/// The lock file has the SQLite versions on which sqlx and the store agree.
#[test]
fn inbox_and_outbox_have_each_effect_once_on_sqlite_and_postgres() {
    cargo("integrations/sqlx", &["test", "--locked"]);
}
