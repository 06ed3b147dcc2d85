//! Sets the environment variables that `version --verbose` prints for this build. No failure here stops a build: an
//! archive without git has no commit.

#![allow(clippy::print_stdout, reason = "cargo reads what a build script prints")]

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    for (name, value) in [
        ("EVENT_REPLAY_COMMIT", output("git", &["rev-parse", "--short=12", "HEAD"])),
        ("EVENT_REPLAY_COMMIT_DATE", output("git", &["log", "-1", "--format=%cs"])),
        ("EVENT_REPLAY_RUSTC", output(&rustc, &["--version"])),
    ] {
        println!("cargo::rustc-env={name}={}", value.unwrap_or_else(|| "unknown".to_owned()));
    }
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = output("git", &["rev-parse", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
