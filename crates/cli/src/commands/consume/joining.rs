//! Joining a group: as it is where it exists, as the flags say where it does not.

use std::{sync::Arc, time::Duration};

use bus::{Bus, Consumer, StartAt};
use domain::group::{DEFAULT_SEGMENTS, GroupKey, GroupStatus};

use super::{ConsumeArgs, Times, counted::Counted, refused};
use crate::{
    commands::{Context, mark::mark_at},
    errors::CliError,
    output::escape,
    store::Stores,
};

/// How long handlers have to end where what counts has ended already.
const SHORT_GRACE: Duration = Duration::from_millis(100);

/// What the group is, or is to be.
pub(super) struct Joining {
    types: Vec<String>,
    key: GroupKey,
    segments: u16,
    start: StartAt,
    is_new: bool,
}

impl Joining {
    /// What is not said stays as it is in a group that exists: joining it changes nothing by accident.
    pub(super) async fn look(
        args: &ConsumeArgs,
        stores: &Stores,
        cx: &Context<'_>,
    ) -> Result<Self, CliError> {
        let existing = stores.groups.group(&args.group).await?.map(|GroupStatus { record, .. }| record.spec);
        let (name, is_new) = (escape::line(&args.group), existing.is_none());
        let start = match (&existing, args.at.as_deref()) {
            (None, at) => StartAt::Mark(mark_at(stores, at.unwrap_or("head")).await?),
            (Some(_), None) => StartAt::Head,
            (Some(_), Some(_)) => {
                cx.printer.warn(&format!(
                    "group {name} exists and goes on from where it is; `event-replay groups reset` moves a group"
                ));
                StartAt::Head
            }
        };
        let of_existing =
            || existing.as_ref().map(|spec| spec.types.iter().map(|t| t.as_str().to_owned()).collect());
        let types = match args.types.is_empty() {
            true => of_existing().unwrap_or_default(),
            false => args.types.clone(),
        };
        let key = args.key.clone().or(existing.as_ref().map(|spec| spec.key.clone())).unwrap_or_default();
        let segments = args.segments.or(existing.map(|spec| spec.segments)).unwrap_or(DEFAULT_SEGMENTS);
        Ok(Self { types, key, segments, start, is_new })
    }

    /// Starts the consumer.
    pub(super) async fn start(
        self,
        args: &ConsumeArgs,
        bus: &Bus,
        times: Times,
        handler: Arc<Counted>,
        cx: &Context<'_>,
    ) -> Result<Consumer, CliError> {
        let most = args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let mut subscription = bus
            .subscribe(&args.group)
            .on_all_of(self.types, handler)
            .start_at(self.start)
            .ordered_by(self.key)
            .segments(self.segments)
            .concurrency(args.concurrency.min(most))
            .timeout(times.timeout)
            .lease(args.lease)
            .park(args.park)
            // With a limit, what still waits at the end waits for its turn, which does not come: see `Counted`.
            .grace(if args.limit.is_some() { SHORT_GRACE } else { times.grace });
        if let Some(retries) = args.max_retries {
            subscription = subscription.max_retries(retries);
        }
        if let Some(name) = &args.name {
            subscription = subscription.named(name);
        }
        let consumer = subscription.start().await.map_err(refused)?;
        if self.is_new {
            let (name, at) = (escape::line(&args.group), args.at.as_deref().unwrap_or("the head of the log"));
            cx.printer.say(&format!("made group {name}, which begins at {at}"));
        }
        Ok(consumer)
    }
}
