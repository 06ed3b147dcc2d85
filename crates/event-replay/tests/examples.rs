//! Every example runs without an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]
#![allow(dead_code, unreachable_pub, reason = "a test calls an example's `run`, not its `main`")]

use std::{collections::BTreeSet, fs, path::Path};

#[path = "../examples/custom_publisher.rs"]
mod custom_publisher;
#[path = "../examples/error_handler.rs"]
mod error_handler;
#[path = "../examples/recovery.rs"]
mod recovery;

#[tokio::test]
async fn a_custom_publisher_is_refused_what_breaks_its_schema() {
    custom_publisher::run().await.unwrap();
}

#[tokio::test]
async fn an_error_handler_reports_and_never_feeds_itself() {
    error_handler::run().await.unwrap();
}

#[tokio::test]
async fn a_read_model_is_recovered_by_replays() {
    Box::pin(recovery::run()).await.unwrap();
}

#[test]
fn no_example_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let there: BTreeSet<String> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let this = include_str!("examples.rs");
    // A large example is boxed.
    let is_run =
        |name: &&String| ["", ")"].iter().any(|boxed| this.contains(&format!("{name}::run(){boxed}.await")));
    let mut run: BTreeSet<String> = there.iter().filter(is_run).cloned().collect();
    // The service example has its own test file.
    run.extend(
        include_str!("service_example.rs").contains("examples/service.rs").then(|| "service".to_owned()),
    );
    assert_eq!(run, there);
}
