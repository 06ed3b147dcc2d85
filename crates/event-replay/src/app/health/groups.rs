//! The progress of consumer groups.

use std::time::Duration;

use domain::{
    group::{MAX_BLOCKED_KEYS, SegmentStatus},
    time::until,
};
use jiff::Timestamp;

use super::retention::RETENTION_WARNING;
use crate::{
    app::{
        error::AppError,
        groups::{GroupPosition, HoldState},
        store::clock,
    },
    check::{Check, Status},
    handle::StoreHandle,
    settings::Settings,
    text::{escape, plural::count, time},
};

/// The largest age of the oldest pending event. Above it the check warns.
const MAX_PENDING_AGE: Duration = Duration::from_secs(15 * 60);

/// Checks every group.
pub(super) async fn checks(store: &StoreHandle, settings: &Settings) -> Result<Vec<Check>, AppError> {
    let mut checks = vec![];
    for record in store.groups().await? {
        let Some(status) = store.group(&record.spec.name).await? else { continue };
        let group = GroupPosition::of(store, &settings.holds, status).await?;
        let name = escape::short(&record.spec.name, 60);
        checks.extend([consumers(&name, &group), lag(&name, &group), pending(&name, &group)]);
        checks.push(blocked(&name, &group));
        checks.extend(paused(&name, &group));
        checks.extend(gaps(&name, &group));
        checks.extend(hold(&name, &group, settings));
    }
    Ok(checks)
}

/// A group without consumers passes as long as no event is pending.
fn consumers(name: &str, group: &GroupPosition) -> Check {
    let alive = group.status.consumers.len() as u64;
    let check = match (alive, group.has_work(), group.hold) {
        (0, _, HoldState::ForgottenSince(since)) => {
            let message = format!(
                "group {name}: no consumers for so long that retention stopped waiting for it at {}; start one, or \
                 `event-replay groups delete {name}`",
                time::to_milliseconds(since)
            );
            Check::new("group-consumers", Status::Warn, message)
        }
        (0, true, _) => {
            let seen = time::to_milliseconds(group.status.record.last_seen_at);
            let message = format!("group {name}: no consumers since {seen}; events are pending");
            Check::new("group-consumers", Status::Warn, message)
        }
        (0, false, _) => {
            let message = format!("group {name}: no consumers; nothing pending");
            Check::new("group-consumers", Status::Pass, message)
        }
        (alive, ..) => {
            Check::new("group-consumers", Status::Pass, format!("group {name}: {}", count(alive, "consumer")))
        }
    };
    check.observed(alive, "consumers").threshold(1)
}

/// For information: the lag of the group.
fn lag(name: &str, group: &GroupPosition) -> Check {
    let message = match group.waiting_since {
        None => format!("group {name}: every segment has read to the end of the log"),
        Some(since) => format!(
            "group {name}: the slowest segment is {} behind, the oldest stored at {}",
            count(group.lag, "event"),
            time::to_milliseconds(since)
        ),
    };
    Check::new("group-lag", Status::Pass, message).observed(group.lag, "events")
}

/// The pending events: events in the log, and events behind a failing event of their key.
fn pending(name: &str, group: &GroupPosition) -> Check {
    let pending = &group.pending;
    let age = pending.oldest.map_or(0, seconds_since);
    let check = match pending.oldest {
        None if pending.is_exact => {
            Check::new("group-pending", Status::Pass, format!("group {name}: no event is pending"))
        }
        None => Check::new("group-pending", Status::Pass, format!("group {name}: {}", pending.in_words())),
        Some(oldest) => {
            let oldest = time::to_milliseconds(oldest);
            let said = format!("group {name}: {}, the oldest stored at {oldest}", pending.in_words());
            match age > MAX_PENDING_AGE.as_secs() {
                false => Check::new("group-pending", Status::Pass, said),
                true => {
                    let advice = "`event-replay groups show` lists the failing keys and their errors";
                    Check::new("group-pending", Status::Warn, format!("{said}; {advice}"))
                }
            }
        }
    };
    check.observed(age, "seconds").threshold(MAX_PENDING_AGE.as_secs())
}

/// A segment that reaches the limit of blocked keys stops reading. Then the events of its other keys wait too.
fn blocked(name: &str, group: &GroupPosition) -> Check {
    let bound = MAX_BLOCKED_KEYS as u64;
    let full: Vec<&SegmentStatus> =
        group.status.segments.iter().filter(|segment| segment.blocked_keys >= bound).collect();
    let most = group.status.segments.iter().map(|segment| segment.blocked_keys).max().unwrap_or(0);
    let check = match full.first() {
        Some(first) => {
            let numbers: Vec<String> = full.iter().map(|segment| segment.segment.to_string()).collect();
            let message = format!(
                "group {name}: {} {} as many blocked keys as a segment may have ({}) and {} no further; \
                 `event-replay groups show {name}` shows the failing keys. \
                 Fix the cause, or discard the dead letters that keys are parked behind",
                match full.len() {
                    1 => format!("segment {}", first.segment),
                    _ => format!("segments {}", numbers.join(", ")),
                },
                if full.len() == 1 { "has" } else { "have" },
                first.blocked_keys,
                if full.len() == 1 { "reads" } else { "read" },
            );
            Check::new("group-blocked-keys", Status::Fail, message)
        }
        None => {
            let blocked = count(group.status.blocked_keys(), "blocked key");
            let parked = group.parked();
            let message = format!("group {name}: {blocked}, {parked} parked behind a dead letter");
            let near = most * 100 >= bound * RETENTION_WARNING;
            Check::new("group-blocked-keys", if near { Status::Warn } else { Status::Pass }, message)
        }
    };
    check.observed(most, "keys of a segment").threshold(bound)
}

/// A paused group handles nothing. Its other checks do not show this.
fn paused(name: &str, group: &GroupPosition) -> Option<Check> {
    let pause = group.pauses.first()?;
    let why = pause
        .reason
        .as_deref()
        .map_or_else(String::new, |reason| format!(": {}", escape::short(reason, 200)));
    let message = format!(
        "group {name}: paused since {} by {}{why}; `event-replay groups resume {name}` ends that",
        time::to_milliseconds(pause.since),
        escape::short(&pause.by, 60)
    );
    let check = Check::new("group-paused", Status::Warn, message);
    Some(check.observed(seconds_since(pause.since), "seconds"))
}

fn gaps(name: &str, group: &GroupPosition) -> Option<Check> {
    let gaps = &group.status.record.gaps;
    let last = gaps.last()?;
    let positions: u64 = gaps.iter().map(|gap| gap.to.saturating_sub(gap.from).saturating_add(1)).sum();
    let message = format!(
        "group {name}: retention removed {} before the group had passed them, the last at {}; `groups show` has \
         them, `groups reset` clears them",
        count(positions, "position"),
        time::to_milliseconds(last.at)
    );
    Some(Check::new("group-gaps", Status::Warn, message).observed(gaps.len() as u64, "gaps").threshold(0))
}

/// A group that lags holds back retention, up to `retention.max_hold`. Beyond that bound it gets gaps.
fn hold(name: &str, group: &GroupPosition, settings: &Settings) -> Option<Check> {
    let bound = settings.holds.max_hold?.as_secs().max(1);
    // The hold of a group also covers the events of its blocked keys.
    let oldest = [group.waiting_since, group.pending.oldest].into_iter().flatten().min();
    let age = oldest.map_or(0, seconds_since);
    let share = (u128::from(age) * 100 / u128::from(bound)).min(u128::from(u64::MAX)) as u64;
    let said =
        format!("group {name}: the oldest pending event was stored {age} s ago; the bound is {bound} s");
    let check = match share < RETENTION_WARNING {
        true => Check::new("group-hold", Status::Pass, said),
        false => {
            let message = format!("{said} (retention.max_hold); older ones are dropped and leave a gap");
            Check::new("group-hold", Status::Warn, message)
        }
    };
    Some(check.observed(share, "percent").threshold(RETENTION_WARNING))
}

fn seconds_since(instant: Timestamp) -> u64 {
    until(instant, clock().now()).as_secs()
}
