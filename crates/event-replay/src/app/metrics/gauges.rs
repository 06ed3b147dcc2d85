//! The current state of the store, its groups, its dead letters, its replays and its schedule.

use std::collections::BTreeMap;

use domain::{DeadLetterState, ports::ReplayState};
use jiff::Timestamp;

use super::{Kind, MOST_VALUES, Metric, Series};
use crate::{
    app::{
        documents::state_name,
        error::AppError,
        groups::{self, GroupPosition},
        replay_state::name_of,
        replays,
    },
    handle::StoreHandle,
    settings::Settings,
};

/// The number of replays that are read. Unfinished replays are among the newest.
const NEWEST_REPLAYS: usize = 100;

/// Returns all gauges.
pub(super) async fn metrics(store: &StoreHandle, settings: &Settings) -> Result<Vec<Metric>, AppError> {
    let mut all = of_store(store).await?;
    let found = groups::all(store, settings).await?;
    let shown = found.get(..MOST_VALUES.min(found.len())).unwrap_or_default();
    all.extend(of_groups(shown));
    all.extend(of_dead_letters(store, shown).await?);
    all.extend(of_replays(store).await?);
    all.extend(of_schedule(store).await?);
    Ok(all)
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Metric {
    Metric::one(name, Kind::Gauge, help, value)
}

async fn of_store(store: &StoreHandle) -> Result<Vec<Metric>, AppError> {
    let info = store.info().await?;
    let mut all = vec![
        gauge("event_replay_store_events", "Events in the store.", info.events as f64),
        gauge("event_replay_store_event_bytes", "Bytes of their JSON.", info.bytes as f64),
    ];
    if let Some(occupied) = info.bytes_occupied {
        all.push(gauge("event_replay_store_bytes", "Bytes that the store occupies.", occupied as f64));
    }
    Ok(all)
}

/// A gauge of each group.
struct OfGroup {
    name: &'static str,
    help: &'static str,
    value: fn(&GroupPosition) -> f64,
}

const OF_GROUPS: &[OfGroup] = &[
    OfGroup {
        name: "event_replay_group_pending_events",
        help: "Events that the group has still to handle; a lower bound where there are very many.",
        value: |group| group.pending.events as f64,
    },
    OfGroup {
        name: "event_replay_group_lag_events",
        help: "Events in the log after the group's slowest segment, of any type.",
        value: |group| group.lag as f64,
    },
    OfGroup {
        name: "event_replay_group_oldest_waiting_timestamp_seconds",
        help: "When the oldest event that the group has still to handle was stored; 0 where there is none.",
        value: |group| group.pending.oldest.map_or(0.0, seconds),
    },
    OfGroup {
        name: "event_replay_group_consumers",
        help: "Consumers of the group whose lease has not expired.",
        value: |group| group.status.consumers.len() as f64,
    },
    OfGroup {
        name: "event_replay_group_blocked_keys",
        help: "Keys whose next delivery waits: for a retry, or because they are parked.",
        value: |group| group.status.blocked_keys() as f64,
    },
    OfGroup {
        name: "event_replay_group_parked_keys",
        help: "Blocked keys that wait behind a dead letter.",
        value: |group| group.parked() as f64,
    },
    OfGroup {
        name: "event_replay_group_fullest_segment_blocked_keys",
        help: "Blocked keys of the segment that has most of them.",
        value: |group| {
            group.status.segments.iter().map(|segment| segment.blocked_keys).max().unwrap_or(0) as f64
        },
    },
    OfGroup {
        name: "event_replay_group_lane_events",
        help: "Replayed events that wait in the group's lane.",
        value: |group| group.lane() as f64,
    },
    OfGroup {
        name: "event_replay_group_paused",
        help: "1 where the group is paused, by an operator or by a circuit breaker.",
        value: |group| if group.pauses.is_empty() { 0.0 } else { 1.0 },
    },
    OfGroup {
        name: "event_replay_group_gaps",
        help: "Stretches that retention removed before the group had passed them.",
        value: |group| group.status.record.gaps.len() as f64,
    },
];

fn of_groups(groups: &[GroupPosition]) -> Vec<Metric> {
    let limit = gauge(
        "event_replay_segment_blocked_keys_limit",
        "Blocked keys that a segment can hold; at the limit it reads no further.",
        domain::group::MAX_BLOCKED_KEYS as f64,
    );
    let gauges = OF_GROUPS.iter().map(|of| {
        let series = groups.iter().map(|group| Series {
            labels: vec![("group", group.status.record.spec.name.clone())],
            value: (of.value)(group),
        });
        Metric::new(of.name, Kind::Gauge, of.help, series.collect())
    });
    [limit].into_iter().chain(gauges).collect()
}

async fn of_dead_letters(store: &StoreHandle, groups: &[GroupPosition]) -> Result<Vec<Metric>, AppError> {
    const STATES: [DeadLetterState; 4] = [
        DeadLetterState::Open,
        DeadLetterState::Redriving,
        DeadLetterState::Handled,
        DeadLetterState::Discarded,
    ];
    let counts = store.count_dead_letters().await?;
    // Each group has a series for each state from the beginning. A deleted group with dead letters also has its series.
    let mut names: Vec<&str> = groups.iter().map(|group| group.status.record.spec.name.as_str()).collect();
    for count in &counts {
        if !names.contains(&count.group.as_str()) && names.len() < MOST_VALUES {
            names.push(&count.group);
        }
    }
    let mut series = vec![];
    for name in names {
        for state in STATES {
            let of_state = counts.iter().filter(|count| count.group == name && count.state == state);
            let labels = vec![("group", name.to_owned()), ("state", state_name(state).to_owned())];
            series.push(Series { labels, value: of_state.map(|count| count.count).sum::<u64>() as f64 });
        }
    }
    let open = counts.iter().filter(|count| count.state == DeadLetterState::Open);
    let oldest = open.map(|count| count.oldest).min().map_or(0.0, seconds);
    Ok(vec![
        Metric::new("event_replay_dead_letters", Kind::Gauge, "Dead letters by state.", series),
        gauge(
            "event_replay_dead_letter_oldest_timestamp_seconds",
            "When the oldest open dead letter was made; 0 where there is none.",
            oldest,
        ),
    ])
}

async fn of_replays(store: &StoreHandle) -> Result<Vec<Metric>, AppError> {
    const STATES: [ReplayState; 4] =
        [ReplayState::Planned, ReplayState::Running, ReplayState::Paused, ReplayState::Cancelling];
    let open: Vec<_> = replays::newest(store, NEWEST_REPLAYS)
        .await?
        .into_iter()
        .filter(|replay| !replay.state.is_final())
        .collect();
    let mut counts: BTreeMap<&str, u64> = STATES.iter().map(|state| (name_of(*state), 0)).collect();
    for replay in &open {
        *counts.entry(name_of(replay.state)).or_default() += 1;
    }
    let series = counts
        .into_iter()
        .map(|(state, count)| Series { labels: vec![("state", state.to_owned())], value: count as f64 });
    let remaining: u64 = open.iter().map(|replay| replay.total_events.saturating_sub(replay.done())).sum();
    let running = open.iter().filter(|replay| replay.state == ReplayState::Running);
    let last = running.map(|replay| replay.updated_at).max().map_or(0.0, seconds);
    Ok(vec![
        Metric::new(
            "event_replay_replays",
            Kind::Gauge,
            "Replays that are not over, by state.",
            series.collect(),
        ),
        gauge(
            "event_replay_replay_remaining_events",
            "Events that they have still to send.",
            remaining as f64,
        ),
        gauge(
            "event_replay_replay_last_progress_timestamp_seconds",
            "When a running replay last made progress; 0 if none runs.",
            last,
        ),
    ])
}

async fn of_schedule(store: &StoreHandle) -> Result<Vec<Metric>, AppError> {
    let next = store.scheduled(1).await?;
    let due = next.first().map_or(0.0, |first| seconds(first.due));
    let help = "When the next event of the schedule is due; 0 where none waits.";
    Ok(vec![gauge("event_replay_scheduled_oldest_due_timestamp_seconds", help, due)])
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}
