//! The binary `event-replay`: it only wires. What can be said is in [`cli`], what is done in [`commands`].

mod args;
mod cli;
mod command;
mod commands;
mod context;
mod errors;
mod exit;
mod help;
mod input;
mod output;

use std::{io::Write, process::ExitCode};

use clap::FromArgMatches;
use event_replay::{Misspelt, Settings, misspelt_variables};

use crate::{
    cli::Cli,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{Printer, escape},
};

fn main() -> ExitCode {
    log_if_asked();
    let parsed =
        help::command().try_get_matches().and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(said) => {
            say(&said);
            return if said.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    let mut printer = Printer::new(cli.global.output);
    let outcome = run(cli, &mut printer);
    let outcome = outcome.and_then(|exit| printer.flush().map(|()| exit));
    match outcome {
        Ok(exit) => exit.into(),
        Err(CliError::OutputClosed) => Exit::Ok.into(),
        Err(CliError::Said { exit, what, hint, .. }) => {
            // What was written before the error stays written.
            let _ = printer.flush();
            printer.error(&what, hint.as_deref());
            exit.into()
        }
    }
}

/// Prints a help text, or what is wrong with the arguments. What they contain must not steer the terminal.
fn say(said: &clap::Error) {
    let text = said.render().to_string();
    let harmless = escape::lines(&text);
    // The reader has closed it: there is nothing left to do.
    let _ = match harmless == text {
        true => said.print(),
        false => std::io::stderr().write_all(harmless.as_bytes()),
    };
}

fn run(cli: Cli, printer: &mut Printer) -> Result<Exit, CliError> {
    let Cli { global, command } = cli;
    for Misspelt { variable, meant } in misspelt_variables() {
        let variable = escape::line(&variable);
        printer.warn(&format!("the environment variable {variable} sets nothing; did you mean {meant}?"));
    }
    let settings = Settings::load(global.store.as_deref(), global.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("no threads can be started: {error}")))?;
    let mut context = Context { settings, printer, command_line: help::command };
    let outcome = runtime.block_on(command::run(command, &mut context));
    // A thread that waits for input that never comes must not keep the process.
    runtime.shutdown_background();
    outcome.map_err(|error| error.naming(&context.settings.store))
}

/// The program's own log, for its developers: EVENT_REPLAY_LOG takes what `RUST_LOG` takes elsewhere.
fn log_if_asked() {
    if let Ok(filter) = std::env::var("EVENT_REPLAY_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
