//! A replay to a target of this process: lines on stdout, a command, or an endpoint.

use std::io::IsTerminal;

use domain::ports::ReplayTarget;
use event_replay::{
    StoreHandle,
    app::{self, plans::Permitted},
};
use replay::{Plan, ReplayError, ReplayManager, ReplayStatus};
use targets::{ExecNotices, ExecTarget, HttpTarget, NdjsonTarget};
use tokio::io::Stdout;

use super::{
    report::{Onto, exit_of, print_report},
    run_args::RunArgs,
    speed,
    watching::{BarWatcher, say_rest},
};
use crate::{
    args::target::Target,
    commands::signals::Interrupts,
    context::Context,
    errors::{CliError, with_causes},
    exit::Exit,
    output::{bar::Bar, plural::count},
};

enum Opened {
    Stdout(NdjsonTarget<Stdout>),
    Exec(ExecTarget),
    Http(Box<HttpTarget>),
}

impl Opened {
    /// Opens the target. Returns none for consumer groups.
    fn open(target: &Target, cx: &Context<'_>) -> Result<Option<Self>, CliError> {
        let timeout = cx.settings.handler_timeout;
        Ok(Some(match target {
            Target::Groups => return Ok(None),
            Target::Stdout => Self::Stdout(NdjsonTarget::stdout()),
            Target::Exec(command) => {
                let started = ExecTarget::start(command.clone()).map_err(|error| unusable(&error))?;
                Self::Exec(started.with_timeout(timeout))
            }
            Target::Http(endpoint) => {
                let endpoint = endpoint.clone().with_timeout(timeout);
                Self::Http(Box::new(HttpTarget::new(endpoint).map_err(|error| unusable(&error))?))
            }
        }))
    }

    fn port(&mut self) -> &mut dyn ReplayTarget {
        match self {
            Self::Stdout(lines) => lines,
            Self::Exec(exec) => exec,
            Self::Http(http) => &mut **http,
        }
    }

    /// The reports of wrong behaviour of a command.
    fn notices(&self) -> Option<ExecNotices> {
        match self {
            Self::Exec(exec) => Some(exec.notices()),
            Self::Stdout(_) | Self::Http(_) => None,
        }
    }

    async fn close(&self) {
        if let Self::Exec(exec) = self {
            exec.close().await;
        }
    }
}

async fn next(notices: Option<&ExecNotices>) -> String {
    match notices {
        Some(notices) => notices.next().await,
        None => std::future::pending().await,
    }
}

fn unusable(error: &dyn std::error::Error) -> CliError {
    CliError::failed(format!("--target: {}", with_causes(error)))
}

/// The plan to run, and the conditions of the run.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) manager: &'a ReplayManager,
    pub(super) plan: &'a Plan,
    pub(super) permitted: &'a Permitted,
    pub(super) all: bool,
    pub(super) args: &'a RunArgs,
}

/// Runs a plan, and reports the result. The first interruption takes effect after the current batch. The second one
/// takes effect at once.
pub(super) async fn execute(
    stores: &StoreHandle,
    run: Run<'_>,
    to: &Target,
    interrupts: &mut Interrupts,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let Run { manager, plan, permitted, all, args } = run;
    let options = speed::options(args, to, all, cx);
    let Some(mut target) = Opened::open(to, cx)? else {
        return Err(CliError::failed("groups are no target of this process"));
    };
    speed::say_beginning(plan, &options, &to.to_string(), cx);
    // Lines on the same terminal would break the progress bar.
    let is_torn = matches!(to, Target::Stdout) && std::io::stdout().is_terminal();
    let bar = match is_torn {
        true => Bar::new(false, "", None),
        false => cx.printer.bar("replaying", Some(plan.total_events)),
    };
    let (watcher, mut rests) = BarWatcher::new(&bar);
    let notices = target.notices();
    let outcome = {
        let run = app::replay::run(
            stores,
            &cx.actor,
            manager,
            (plan, permitted),
            target.port(),
            &options,
            &watcher,
        );
        tokio::pin!(run);
        loop {
            tokio::select! {
                biased;
                outcome = &mut run => break outcome,
                rest = rests.changed() => say_rest(&rest, None, &bar, cx),
                notice = next(notices.as_ref()) => bar.handle().suspend(|| cx.printer.warn(&notice)),
                () = interrupts.next() => match options.cancel.is_cancelled() {
                    false => options.cancel.cancel(),
                    true => return Err(CliError::failed("ended at once; the batch in hand may be delivered in part")),
                },
            }
        }
    };
    bar.clear();
    target.close().await;
    let onto = if matches!(to, Target::Stdout) { Onto::Stderr } else { Onto::Stdout };
    match outcome {
        Ok(report) => {
            let reader_left =
                report.ended.as_deref() == Some(domain::ports::TargetError::Closed.to_string().as_str());
            if report.status == ReplayStatus::Cancelled && reader_left {
                return Err(CliError::OutputClosed);
            }
            print_report(&report, onto, cx)?;
            Ok(exit_of(&report))
        }
        Err(ReplayError::Interrupted { error, report }) => {
            print_report(&report, onto, cx)?;
            let done = format!(
                "the replay stopped after {} of {}",
                report.done(),
                count(report.total_events, "event")
            );
            Err(CliError::from(error).during(done))
        }
        Err(error) => Err(error.into()),
    }
}
