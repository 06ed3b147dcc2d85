//! Crates outside the workspace use the public API. The tests build, test and run them as users would.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is a test's way to fail")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use servers::{Binary, Config, Server};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Runs cargo for a crate, and returns its output. The lock file of the crate is committed.
fn cargo(folder: &str, arguments: &[&str]) -> String {
    let root = root();
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
    let [printed, errors] =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "cargo {arguments:?}: {printed}{errors}");
    printed
}

/// Runs the service outside the workspace on a store.
fn service_on(location: &str) -> String {
    cargo("tests/outside", &["run", "--locked", "--", location])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crate_outside_the_workspace_tests_and_runs_a_service_on_each_store() {
    cargo("tests/outside", &["test", "--locked"]);
    let orders = |count: u32| format!("{count} orders replayed, 0 failed; {count} payments; healthy: true\n");
    assert_eq!(service_on("memory:"), orders(3));

    // The second process finds the orders of the first, and emits no payment twice.
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("events.db").display());
    assert_eq!([service_on(&file), service_on(&file)], [orders(3), orders(6)]);
    if Binary::default().major() == 0 {
        println!("NOT RUN: the service outside the workspace on a server, there is no redis-server");
        return;
    }
    let server = Server::start(&Binary::default(), &Config::default()).await.unwrap();
    assert_eq!([service_on(&server.url()), service_on(&server.url())], [orders(3), orders(6)]);
}

/// The size of the service: lines that are neither blank nor comments. The module of the orders is no part of it.
#[test]
fn the_service_has_forty_lines_at_most() {
    let source = fs::read_to_string(root().join("tests/outside/src/main.rs")).unwrap();
    let (service, _tests) = source.split_once("#[cfg(test)]").unwrap();
    let lines = service.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    assert!(lines.clone().count() <= 40, "{} lines", lines.count());
}

/// The lock file has the SQLite versions on which sqlx and the store agree.
#[test]
fn inbox_and_outbox_have_each_effect_once_on_sqlite_and_postgres() {
    cargo("integrations/sqlx", &["test", "--locked"]);
}
