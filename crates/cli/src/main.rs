//! The binary `event-replay`. It only connects its parts: [`cli`] defines the command line, and [`commands`] runs it.

mod args;
mod cli;
mod command;
mod commands;
mod complete;
mod context;
mod errors;
mod exit;
mod help;
mod input;
mod output;
#[cfg(test)]
mod words;

use std::{io::Write, process::ExitCode, time::Instant};

use clap::{FromArgMatches, error::ErrorKind};
use clap_complete::CompleteEnv;
use event_replay::{Misspelt, Settings, SettingsRequest, app::audit::Actor, misspelt_variables};

use crate::{
    cli::Cli,
    commands::{completions::VARIABLE, version::BUILD},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{Printer, escape, style::ColorChoice},
};

fn main() -> ExitCode {
    // If a shell asks for completions, this call answers and ends the process.
    CompleteEnv::with_factory(help::command).var(VARIABLE).complete();
    let color = ColorChoice::among(std::env::args());
    color.apply();
    let parsed = help::command()
        .color(color.for_clap())
        .try_get_matches()
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(said) if said.kind() == ErrorKind::DisplayVersion && is_verbose() => {
            // If the reader has closed stdout, no action is left.
            let _ = std::io::stdout().write_all(BUILD.in_lines().as_bytes());
            return Exit::Ok.into();
        }
        Err(said) => {
            say(&said);
            return if said.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    log_if_asked(cli.global.verbose);
    let mut printer = match Printer::new(&cli.global.output) {
        Ok(printer) => printer,
        Err(refused) => return end(refused, &mut Printer::plain()).into(),
    };
    let outcome = run(cli, &mut printer);
    match outcome.and_then(|exit| printer.finish().map(|()| exit)) {
        Ok(exit) => exit.into(),
        Err(error) => end(error, &mut printer).into(),
    }
}

/// Prints the reason for which the command ended early. Output that was written before the error stays written.
fn end(error: CliError, printer: &mut Printer) -> Exit {
    match error {
        CliError::OutputClosed => Exit::Ok,
        CliError::Said { exit, what, hint, .. } => {
            let _ = printer.finish();
            printer.error(&what, hint.as_deref());
            exit
        }
    }
}

/// Returns whether the command line asks for more detail. The parser stops at `--version`, so the words are searched
/// here.
fn is_verbose() -> bool {
    std::env::args().any(|word| word == "--verbose" || word == "-v")
}

/// Prints a help text, or an error in the arguments. Escapes the text, because arguments must not control the terminal.
fn say(said: &clap::Error) {
    let text = said.render().to_string();
    let harmless = escape::lines(&text);
    // If the reader has closed the stream, no action is left.
    let _ = match harmless == text {
        true => said.print(),
        false => std::io::stderr().write_all(harmless.as_bytes()),
    };
}

fn run(cli: Cli, printer: &mut Printer) -> Result<Exit, CliError> {
    let begun = Instant::now();
    let Cli { global, command } = cli;
    for Misspelt { variable, meant } in misspelt_variables() {
        let variable = escape::line(&variable);
        printer.warn(&format!("the environment variable {variable} sets nothing; did you mean {meant}?"));
    }
    let request = SettingsRequest {
        store: global.store.as_deref(),
        context: global.context.as_deref(),
        file: global.config.as_deref(),
    };
    let settings = match Settings::resolve(request) {
        // Some commands explain and correct settings. They must work even if the settings are wrong.
        Err(_) if command.needs_no_settings() => Settings::defaults()?,
        settings => settings?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("no threads can be started: {error}")))?;
    let actor = Actor::of_process(global.operator, global.reason);
    let mut context =
        Context { settings, actor, printer, is_verbose: global.verbose > 0, command_line: help::command };
    let outcome = runtime.block_on(command::run(command, &mut context));
    // A thread may block on input that never arrives. It must not keep the process alive.
    runtime.shutdown_background();
    tracing::info!(succeeded = outcome.is_ok(), elapsed = ?begun.elapsed(), "the command ended");
    outcome.map_err(|error| error.naming(&context.settings.store))
}

/// Starts the log of the program. `EVENT_REPLAY_LOG` has the syntax of `RUST_LOG`. `-v` means `info`, and `-vv` means
/// `debug`.
fn log_if_asked(verbose: u8) {
    let filter = std::env::var("EVENT_REPLAY_LOG").ok().or_else(|| match verbose {
        0 => None,
        1 => Some("info".to_owned()),
        _ => Some("debug".to_owned()),
    });
    if let Some(filter) = filter {
        let stderr = std::io::stderr();
        let has_colour = output::style::colours(&stderr);
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(has_colour)
            .with_writer(std::io::stderr)
            .init();
    }
}
