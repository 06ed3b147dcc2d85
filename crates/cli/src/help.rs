//! The overview of all commands, grouped by purpose, and the help topics.

pub(crate) mod topics;

use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// Commands by purpose. A test checks that every command is in one group.
const GROUPS: &[(&str, &[&str])] = &[
    ("Put events in", &["init", "publish", "import", "validate", "scheduled"]),
    ("Find events", &["list", "show", "tail", "trace", "state", "diff", "stats", "histogram", "export"]),
    ("Replay", &["replay", "replay-correlation", "replay-user", "compare", "replays", "plans"]),
    ("Recover", &["checkpoint", "checkpoints", "recover"]),
    ("Consumers", &["consume", "groups", "dead-letters"]),
    ("Other languages", &["serve", "tokens"]),
    ("Schemas", &["validate-schemas", "schemas"]),
    ("Maintain the store", &["health", "audit", "verify", "trim", "erase", "backup", "restore", "migrate"]),
    (
        "The program itself",
        &["demo", "config", "context", "explain", "diagnose", "version", "completions", "man", "help"],
    ),
];

const EXAMPLES: &str = "\
Examples:
  event-replay import events.ndjson
  event-replay list --type 'user.*' --from 2h
  event-replay replay --correlation-id workflow-abc-123 --dry-run
  event-replay consume mail --target exec1:./send-mail
  event-replay replay --user-id user-123

Exit codes: 0 ok, 1 failed, 2 usage, 3 done with failures, 4 unhealthy.
`event-replay COMMAND --help` shows a command's flags and examples.
`event-replay help TOPIC` explains a topic.";

/// Returns the whole command line.
pub(crate) fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    let overview = format!("{}\n{EXAMPLES}", overview(&command));
    Cli::command()
        .help_template("{about}\n\n{usage-heading} {usage}\n\n{after-help}\n\n{options}")
        .after_help(overview)
}

fn overview(command: &Command) -> String {
    let mut text = String::new();
    for (heading, names) in GROUPS {
        text.push_str(heading);
        text.push_str(":\n");
        for name in *names {
            if let Some(found) = command.find_subcommand(name) {
                let about = found.get_about().map(ToString::to_string).unwrap_or_default();
                text.push_str(&format!("  {name:<19} {about}\n"));
            }
        }
        text.push('\n');
    }
    text.push_str("Topics of `event-replay help`:\n");
    for topic in topics::TOPICS {
        text.push_str(&format!("  {:<19} {}\n", topic.name, topic.about));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_in_the_overview_and_has_an_example() {
        let command = command();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for found in command.get_subcommands() {
            assert!(grouped.contains(&found.get_name()), "{} is in no group", found.get_name());
            let leaves: Vec<&Command> = match found.has_subcommands() {
                true => found.get_subcommands().collect(),
                false => vec![found],
            };
            for leaf in leaves {
                let after = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains("event-replay "), "{} has no example", leaf.get_name());
                let widest = after.lines().map(|line| line.chars().count()).max();
                // The help output would break a wider line, and would leave single words on the next line.
                assert!(widest <= Some(100), "{}: its help is {widest:?} wide", leaf.get_name());
            }
        }
    }
}
