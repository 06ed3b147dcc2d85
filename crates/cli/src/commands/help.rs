//! `help`: prints the overview, the help of a command, or a topic.

use clap::Args;

use crate::{
    context::Context,
    errors::CliError,
    exit::Exit,
    help::topics::{self, TOPICS},
    output::escape,
};

/// Show the help of a command or a topic
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay help
  event-replay help groups list
  event-replay help times")]
pub(crate) struct HelpArgs {
    /// A command, such as `groups list`, or a topic.
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

pub(crate) fn run(args: &HelpArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    cx.printer.page();
    if let [name] = args.words.as_slice()
        && let Some(topic) = topics::find(name)
    {
        cx.printer.raw(format!("{}.\n\n{}", topic.about, topic.text).as_bytes())?;
        return Ok(Exit::Ok);
    }
    let mut command = (cx.command_line)();
    command.build();
    let mut found = &mut command;
    for word in &args.words {
        found = match found.find_subcommand_mut(word) {
            Some(next) => next,
            None => return Err(unknown(&args.words)),
        };
    }
    let text = found.render_long_help().ansi().to_string();
    cx.printer.styled(&text)?;
    Ok(Exit::Ok)
}

fn unknown(words: &[String]) -> CliError {
    let names: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
    CliError::usage(format!("there is no command and no topic {:?}", escape::line(&words.join(" "))))
        .hint(format!("the topics are {}; `event-replay help` lists the commands", names.join(", ")))
}
