//! `explain`: prints the meaning of a code and the action to take.

use clap::Args;
use event_replay::app::explanations;

use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        table::{Table, fixed, wrapped},
    },
};

/// Explain an exit code, a health check, or a rule of validation
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay explain 3
  event-replay explain group-pending
  event-replay explain conflict
  event-replay explain")]
pub(crate) struct ExplainArgs {
    /// The code: an exit code, the name of a health check, or the rule of a violation [default: list all].
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

pub(crate) fn run(args: &ExplainArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let Some(code) = &args.code else { return list(cx) };
    let Some(found) = explanations::find(code) else {
        let said = CliError::failed(format!("there is no code {:?}", escape::line(code)));
        let near = explanations::near(code);
        return Err(match near.is_empty() {
            true => said.hint("`event-replay explain` lists the codes"),
            false => said.hint(format!("did you mean {}?", near.join(" or "))),
        });
    };
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(found)?,
        Format::Table => {
            let mut table = Table::pairs();
            table.row(["code", found.code]);
            table.row(["kind", found.kind.name()]);
            table.row(["meaning", found.meaning]);
            table.row(["action", found.action]);
            cx.printer.table(&table)?;
        }
    }
    Ok(Exit::Ok)
}

fn list(cx: &mut Context<'_>) -> Result<Exit, CliError> {
    cx.printer.page();
    if cx.printer.format() != Format::Table {
        cx.printer.json_rows(explanations::ALL)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([fixed("code"), fixed("kind"), wrapped("meaning")]);
    for explanation in explanations::ALL {
        table.row([explanation.code, explanation.kind.name(), explanation.meaning]);
    }
    cx.printer.table(&table)?;
    Ok(Exit::Ok)
}
