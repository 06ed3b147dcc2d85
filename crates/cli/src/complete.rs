//! Shell completion. The program itself offers names and ids from the store while the user types a command line.
//!
//! A completion must never block the shell or print an error. If the store does not answer in time, nothing is offered.

use std::{collections::BTreeSet, ffi::OsStr, sync::Arc, time::Duration};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use domain::{
    DeadLetterState, Filter, StoredEvent,
    ports::{DeadLetterQuery, Order, ReadRequest},
};
use event_replay::{
    Access, Contexts, Settings, SettingsRequest, StoreHandle,
    app::{AppError, near, open_store},
};

/// The time limit for the store.
const PATIENCE: Duration = Duration::from_secs(1);
/// The number of newest events that are searched for sources and entities.
const EVENTS: usize = 1000;
/// Ids that are offered at most, newest first.
const IDS: usize = 200;

/// Completes names of consumer groups.
pub(crate) fn groups() -> ArgValueCompleter {
    of(async |store: &StoreHandle, _: &Settings| {
        Ok(store.groups().await?.into_iter().map(|record| record.spec.name).collect())
    })
}

/// Completes names of checkpoints.
pub(crate) fn checkpoints() -> ArgValueCompleter {
    of(async |store: &StoreHandle, _: &Settings| names_of_checkpoints(store).await)
}

/// Completes places in the log: keywords and names of checkpoints.
pub(crate) fn places() -> ArgValueCompleter {
    of(async |store: &StoreHandle, _: &Settings| {
        let words = ["start", "head", "now", "today", "yesterday"].map(str::to_owned);
        Ok(words.into_iter().chain(names_of_checkpoints(store).await?).collect())
    })
}

/// Completes ids of the newest replays.
pub(crate) fn replays() -> ArgValueCompleter {
    of(async |store: &StoreHandle, _: &Settings| {
        Ok(store.list_replays(IDS).await?.into_iter().map(|record| record.id).collect())
    })
}

/// Completes ids of the newest kept plans.
pub(crate) fn plans() -> ArgValueCompleter {
    of(async |store: &StoreHandle, _: &Settings| {
        Ok(store.list_plans().await?.into_iter().take(IDS).map(|plan| plan.id).collect())
    })
}

/// Completes ids of dead letters that are not closed.
pub(crate) fn dead_letters() -> ArgValueCompleter {
    of(async |store: &StoreHandle, _: &Settings| {
        let states = vec![DeadLetterState::Open, DeadLetterState::Redriving];
        let query = DeadLetterQuery { states, limit: IDS, ..DeadLetterQuery::default() };
        Ok(store.dead_letters(&query).await?.into_iter().map(|letter| letter.id).collect())
    })
}

/// Completes types that have a schema, and types of the newest events.
pub(crate) fn types() -> ArgValueCompleter {
    of(async |store: &StoreHandle, settings: &Settings| {
        Ok(near::known_types(store, settings.engine).await?.into_iter().collect())
    })
}

/// Completes sources of the newest events.
pub(crate) fn sources() -> ArgValueCompleter {
    of(async |store: &StoreHandle, _: &Settings| {
        let newest = newest(store).await?;
        let sources: BTreeSet<String> =
            newest.iter().map(|stored| stored.event.source().to_owned()).collect();
        Ok(sources.into_iter().collect())
    })
}

/// Completes entities of the newest events, as `KIND=ID`.
pub(crate) fn entities() -> ArgValueCompleter {
    of(async |store: &StoreHandle, _: &Settings| {
        let newest = newest(store).await?;
        let entities: BTreeSet<String> = newest
            .iter()
            .flat_map(|stored| stored.event.entities())
            .map(|(kind, id)| format!("{kind}={id}"))
            .collect();
        Ok(entities.into_iter().collect())
    })
}

/// Completes names of contexts, without a store.
pub(crate) fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let names = Contexts::load().map(|all| all.contexts.into_keys().collect()).unwrap_or_default();
        beginning_with(current, names)
    })
}

async fn newest(store: &StoreHandle) -> Result<Vec<StoredEvent>, AppError> {
    let mut request = ReadRequest::new(Arc::<Filter>::default(), EVENTS);
    request.order = Order::NewestFirst;
    Ok(store.read(&request).await?.events)
}

async fn names_of_checkpoints(store: &StoreHandle) -> Result<Vec<String>, AppError> {
    Ok(store.list_checkpoints().await?.into_iter().map(|checkpoint| checkpoint.name).collect())
}

/// Creates a completer that queries the store. The command line, the environment or the settings name the store.
fn of<F>(ask: F) -> ArgValueCompleter
where
    F: AsyncFn(&StoreHandle, &Settings) -> Result<Vec<String>, AppError> + Send + Sync + 'static,
{
    ArgValueCompleter::new(move |current: &OsStr| {
        let names = in_time(async {
            let words: Vec<String> = std::env::args().collect();
            let request = SettingsRequest {
                store: value_of("--store", &words),
                context: value_of("--context", &words),
                file: value_of("--config", &words).map(std::path::Path::new),
            };
            let settings = Settings::resolve(request).ok()?;
            let store = open_store(&settings, Access::Read).await.ok()?;
            let names = ask(&store, &settings).await.ok();
            store.close().await;
            names
        });
        beginning_with(current, names.unwrap_or_default())
    })
}

fn in_time<T>(work: impl Future<Output = Option<T>>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().ok()?;
    let done = runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.ok().flatten() });
    runtime.shutdown_background();
    done
}

/// Returns the value of a flag in the incomplete command line.
fn value_of<'a>(flag: &str, words: &'a [String]) -> Option<&'a str> {
    let apart = words.iter().zip(words.iter().skip(1)).find(|(word, _)| *word == flag);
    let joined = words.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    apart.map(|(_, value)| value.as_str()).or(joined)
}

/// Returns the names that begin with the typed text. Names with control characters are not offered, because no shell
/// can print them.
fn beginning_with(current: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let offered =
        names.into_iter().filter(|name| name.starts_with(&*current) && !name.contains(char::is_control));
    offered.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_may_be_written_in_two_ways() {
        let words = ["er", "list", "--store", "sqlite:a.db", "--context=prod"].map(str::to_owned);
        assert_eq!(value_of("--store", &words), Some("sqlite:a.db"));
        assert_eq!(value_of("--context", &words), Some("prod"));
        assert_eq!(value_of("--config", &words), None);
    }
}
