//! `version`: prints the version and the build.

use clap::Args;
use serde::Serialize;

use crate::{args::Format, context::Context, errors::CliError, exit::Exit, output::table::Table};

/// Show the version; with --verbose also commit, date, compiler and features
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay version
  event-replay version --verbose
  event-replay version --output json")]
pub(crate) struct VersionArgs {}

/// A description of a build.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Build {
    version: &'static str,
    commit: &'static str,
    /// The date of the commit.
    date: &'static str,
    rustc: &'static str,
    profile: &'static str,
    target: Target,
    features: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Target {
    os: &'static str,
    arch: &'static str,
}

/// The description of this build.
pub(crate) const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("EVENT_REPLAY_COMMIT"),
    date: env!("EVENT_REPLAY_COMMIT_DATE"),
    rustc: env!("EVENT_REPLAY_RUSTC"),
    profile: if cfg!(debug_assertions) { "debug" } else { "release" },
    target: Target { os: std::env::consts::OS, arch: std::env::consts::ARCH },
    features: &["memory", "redis", "sqlite", "conditions", "validation"],
};

impl Build {
    /// Formats the build in lines, for `--version --verbose`.
    pub(crate) fn in_lines(&self) -> String {
        format!(
            "event-replay {}\ncommit: {}\ndate: {}\nrustc: {}\nprofile: {}\ntarget: {} {}\nfeatures: {}\n",
            self.version,
            self.commit,
            self.date,
            self.rustc,
            self.profile,
            self.target.os,
            self.target.arch,
            self.features.join(" ")
        )
    }
}

pub(crate) fn run(_args: &VersionArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&BUILD)?,
        Format::Table if !cx.is_verbose => cx.printer.line(&format!("event-replay {}", BUILD.version))?,
        Format::Table => {
            let mut table = Table::pairs();
            for line in BUILD.in_lines().lines().skip(1) {
                let (name, value) = line.split_once(": ").unwrap_or((line, ""));
                table.row([name, value]);
            }
            cx.printer.line(&format!("event-replay {}", BUILD.version))?;
            cx.printer.table(&table)?;
        }
    }
    Ok(Exit::Ok)
}
