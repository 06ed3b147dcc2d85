//! `consume`: runs a consumer of a group from the shell.

mod counted;
mod joining;
mod outages;
mod outlet;
mod running;
mod times;

use std::{sync::Arc, time::Duration};

use bus::{Bus, Consumer, MAX_CONCURRENCY};
use clap::Args;
use domain::group::GroupKey;
use event_replay::{
    Access,
    app::consumer::{self, JoinRequest, Joining},
};
use replay::{Housekeeper, HousekeepingOptions, JobHost};

use self::{
    counted::Counted,
    outages::patiently,
    outlet::Outlet,
    running::{Ended, Running},
    times::Times,
};
use super::signals::Interrupts;
use crate::{
    args::{
        filter, group, number,
        target::{TELLS_PASSWORD, Target},
    },
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::escape,
};

/// The grace of a consumer with a limit. `Counted::settle` has waited for its open deliveries before.
const SHORT_GRACE: Duration = Duration::from_millis(100);

/// Run a consumer of a group: deliver events to a service
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay consume mail --type 'user.*' --target exec1:./send-mail
  event-replay consume billing --target https://billing.internal/events --concurrency 4
  event-replay consume audit --at start | jq .event.id
  event-replay consume figures --at before-migration --until-idle

A group that is not there is made, and begins with what is published from now on unless --at
says otherwise. In a store that has other groups this needs --create, or an answer on a terminal:
the name may be misspelt. Each event comes at least once, events of one key in order, one at a
time. A failed event is tried again with growing pauses, and is then a dead letter. Any number of
consumers share a group's work; one that ends is replaced by the others. It also lets scheduled
events into the log, runs replays that wait for a runner, and applies the settings' retention.

exec1:COMMAND runs the command for each event. The event is its stdin; exit status 0 says that it
is handled, any other that it failed. exec:COMMAND keeps one process, which gets an event a line:

  {\"event\":{\"id\":\"e1\",…},\"position\":\"0:17\",…,\"delivery\":{\"group\":\"mail\",\"attempt\":1}}

It writes a line for each on its stdout as soon as it is done, in any order, such as one of:

  {\"id\":\"e1\",\"ok\":true}
  {\"id\":\"e1\",\"ok\":false,\"error\":\"the mail server is busy\",\"retryAfterMs\":5000}
  {\"id\":\"e1\",\"ok\":false,\"error\":\"no such account\",\"retry\":false}

Such a command that ends is started again. Its open events are then sent to it one at a time, and
only an event that ends it alone has failed. Passwords of stores are not in its environment.

stdout has the events alone, one a line. Ctrl-C ends it: waiting for handlers to finish first,
a second Ctrl-C ends it at once, and what was not finished is delivered again.")]
pub(crate) struct ConsumeArgs {
    /// The group; it is created if it does not exist and the store has no other, or with --create.
    #[arg(value_name = "GROUP", value_parser = group::name, add = complete::groups())]
    group: String,
    /// The types that a new group takes; `*` stands for any characters. A group that exists must take these [default: those it
    /// has, all for a new group].
    #[arg(long = "type", value_name = "TYPE", value_parser = filter::name, add = complete::types())]
    types: Vec<String>,
    /// Target that handles the events: stdout, exec:COMMAND, exec1:COMMAND, or an http:// or https:// URL.
    #[arg(long, value_name = "TARGET", default_value = "stdout")]
    target: String,
    /// Position of a new group: start, head, a checkpoint, or a time [default: head].
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true, add = complete::places())]
    at: Option<String>,
    /// Create the group if it does not exist, in a store that has other groups.
    #[arg(long)]
    create: bool,
    /// Ordering key of a new group: event, correlation, entity:KIND, or all [default: event].
    #[arg(long, value_name = "KEY", value_parser = group::key)]
    key: Option<GroupKey>,
    /// Number of segments of a new group [default: 16].
    #[arg(long, value_name = "N", value_parser = group::segments, allow_hyphen_values = true)]
    segments: Option<u16>,
    /// Events that are handled at once, of different keys.
    #[arg(long, value_name = "N", default_value = "16", value_parser = concurrency, allow_hyphen_values = true)]
    concurrency: usize,
    /// How long handling an event may take: 30s, 500ms [default: the setting handlers.timeout; to stdout a day].
    #[arg(long, value_name = "TIME", value_parser = timeout, allow_hyphen_values = true)]
    timeout: Option<Duration>,
    /// Retries of a failed event [default: the setting retries.max].
    #[arg(long, value_name = "N", value_parser = number::retries, allow_hyphen_values = true)]
    max_retries: Option<u32>,
    /// Lease duration: other consumers take over this long after a consumer is killed.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = lease, allow_hyphen_values = true)]
    lease: Duration,
    /// Park a key behind its dead letter: later events of the key wait.
    #[arg(long)]
    park: bool,
    /// Skip replayed events, as a mailer should.
    #[arg(long)]
    no_replays: bool,
    /// Its name, unique in the group [default: generated].
    #[arg(long, value_name = "NAME", value_parser = group::name)]
    name: Option<String>,
    /// End when the group has been idle for this long; exits with 3 if deliveries failed permanently.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "5s", value_parser = number::duration)]
    until_idle: Option<Duration>,
    /// End when it has handled this many events.
    #[arg(short = 'n', long, value_name = "N", value_parser = number::limit, allow_hyphen_values = true)]
    limit: Option<u64>,
}

impl ConsumeArgs {
    fn join(&self) -> JoinRequest {
        JoinRequest {
            group: self.group.clone(),
            types: self.types.clone(),
            at: self.at.clone(),
            key: self.key.clone(),
            segments: self.segments,
            create: self.create,
        }
    }

    /// Starts the consumer.
    async fn start(
        &self,
        joining: Joining,
        bus: &Bus,
        times: Times,
        handler: Arc<Counted>,
        cx: &Context<'_>,
    ) -> Result<Consumer, CliError> {
        let most = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let mut subscription = bus
            .subscribe(&self.group)
            .on_all_of(joining.types, handler)
            .start_at(joining.start)
            .ordered_by(joining.key)
            .segments(joining.segments)
            .concurrency(self.concurrency.min(most))
            .timeout(times.timeout)
            .lease(self.lease)
            .park(self.park)
            // With a limit, a delivery that still waits at the end waits for a permit. `Counted` grants no permit by
            // then.
            .grace(if self.limit.is_some() { SHORT_GRACE } else { times.grace });
        if let Some(retries) = self.max_retries {
            subscription = subscription.max_retries(retries);
        }
        if let Some(name) = &self.name {
            subscription = subscription.named(name);
        }
        let consumer = subscription.start().await?;
        let (name, at) = (escape::line(&self.group), self.at.as_deref().unwrap_or("the head of the log"));
        if consumer.made_group() {
            cx.printer.say(&format!("created group {name} at {at}"));
        } else if joining.is_new && self.at.is_some() {
            cx.printer.warn(&format!(
                "another consumer created group {name} at the same time; it may not begin at {at}; \
                 `event-replay groups reset` moves a group"
            ));
        }
        Ok(consumer)
    }
}

fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number @ 1..=MAX_CONCURRENCY) => Ok(number),
        _ => Err(format!("a concurrency is a whole number from 1 to {MAX_CONCURRENCY}")),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    number::delay(text).ok().filter(|time| !time.is_zero()).ok_or_else(|| {
        "a timeout is a number of milliseconds (30000), or a number with a unit (30s, 2m), at most one day"
            .to_owned()
    })
}

fn lease(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_millis(100)..=Duration::from_secs(3600);
    number::duration(text)
        .ok()
        .filter(|time| bounds.contains(time))
        .ok_or_else(|| "a lease is a duration from 100ms to 1h, such as 10s".to_owned())
}

pub(crate) async fn run(args: ConsumeArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let target = Target::parse(&args.target)?;
    if Target::tells_password(&args.target) {
        cx.printer.warn(TELLS_PASSWORD);
    }
    if args.park && !cx.settings.dead_letters {
        return Err(CliError::usage("--park needs dead letters, which are off")
            .hint("leave it out, or set dead_letters.enabled (ENABLE_DEAD_LETTER_QUEUE) to true"));
    }
    let upcasters = cx.settings.upcasters.load()?;
    let mut interrupts = Interrupts::listen()?;
    let stores = patiently(cx.open(Access::Write), &mut interrupts, cx).await?;
    let joining = patiently(joining::resolve(&args.join(), &stores, cx), &mut interrupts, cx).await?;
    let times = Times::new(args.timeout, &target, cx);
    let outlet = Outlet::open(&target, times.timeout)?;
    let (counted, told) = Counted::new(outlet.handler(), args.limit, !args.no_replays);
    let bus = patiently(consumer::bus(&stores, &cx.settings, upcasters), &mut interrupts, cx).await?;
    let starting = args.start(joining, &bus, times, counted.clone(), cx);
    let consumer = patiently(starting, &mut interrupts, cx).await?;
    let manager = consumer::manager(&stores, &cx.settings, &bus);
    let housekeeping = HousekeepingOptions { rules: cx.settings.retention.clone(), ..Default::default() };
    let running = Running {
        group: &args.group,
        target: &target,
        times,
        until_idle: args.until_idle,
        counted,
        told,
        outlet: &outlet,
        manager: &manager,
        stores: &stores,
        host: JobHost::spawn(manager.clone()),
        keeper: Housekeeper::spawn(manager.clone(), housekeeping),
        consumer,
        lag: None,
        looked: None,
    };
    let Ended { exit, store_answers } = match running.run(&mut interrupts, cx).await {
        Ok(ended) => ended,
        Err(at_once) => {
            // The tasks of the consumer have ended. The command is killed without a report, and must not outlive this
            // process.
            outlet.kill().await;
            return Err(at_once);
        }
    };
    tokio::select! {
        () = outlet.close() => {}
        () = interrupts.next() => outlet.kill().await,
    }
    if !store_answers {
        // Further writes to the store would wait without an answer.
        return Ok(exit);
    }
    bus.close().await;
    drop((bus, manager));
    stores.close().await;
    Ok(exit)
}
