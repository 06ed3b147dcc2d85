//! The result of a scan of the store: every event of the log, parsed from its bytes.

use std::collections::{BTreeMap, BTreeSet};

use event_replay::{
    Filter, Position, Timestamp,
    domain::{
        group::{GroupStatus, segment_of},
        ordering::OrderingKey,
        ports::ReadRequest,
    },
};
use serde_json::Value;

use crate::history::{EXPIRING, Group, History};

/// An event of the log.
#[derive(Debug, Clone)]
pub(crate) struct Scanned {
    pub(crate) position: Position,
    pub(crate) stored_at: Timestamp,
    pub(crate) replays: u32,
    pub(crate) bytes: u64,
    pub(crate) id: String,
    pub(crate) event_type: String,
    pub(crate) source: String,
    pub(crate) day: String,
    pub(crate) user: Option<String>,
    pub(crate) correlation: Option<String>,
}

/// The whole log.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) events: Vec<Scanned>,
    pub(crate) partitions: u16,
}

impl Scan {
    pub(crate) fn find(&self, position: Position) -> Option<&Scanned> {
        self.events.iter().find(|event| event.position == position)
    }

    pub(crate) fn of_user(&self, user: &str) -> BTreeSet<String> {
        let of = self.events.iter().filter(|event| event.user.as_deref() == Some(user));
        of.map(|event| event.id.clone()).collect()
    }
}

/// The figures of a group from a scan.
#[derive(Debug, Default)]
pub(crate) struct OfGroup {
    pub(crate) lag: u64,
    pub(crate) waiting_since: Option<Timestamp>,
    pub(crate) pending: u64,
    pub(crate) oldest_pending: Option<Timestamp>,
    /// Keys that are parked, or that have an unfinished event behind the cursor.
    pub(crate) blocked: BTreeMap<String, u16>,
    pub(crate) parked: BTreeSet<String>,
}

impl History {
    pub(crate) async fn scan(&self) -> Scan {
        let mut scan =
            Scan { partitions: self.store.head().await.unwrap().sequences.len() as u16, events: vec![] };
        let mut request = ReadRequest::new(Filter::default(), 97);
        loop {
            let page = self.store.read(&request).await.unwrap();
            for stored in page.events {
                let json = stored.event.json();
                let value: Value = serde_json::from_str(json).unwrap();
                let text = |member: &str| value.get(member).and_then(Value::as_str).map(str::to_owned);
                scan.events.push(Scanned {
                    position: stored.position,
                    stored_at: stored.stored_at,
                    replays: stored.replay_count,
                    bytes: json.len() as u64,
                    id: text("id").unwrap(),
                    event_type: text("type").unwrap(),
                    source: text("source").unwrap(),
                    day: text("timestamp").unwrap()[..10].to_owned(),
                    user: text("userId"),
                    correlation: text("correlationId"),
                });
            }
            request.after = page.next;
            if request.after.is_none() {
                return scan;
            }
        }
    }

    /// Returns the figures of a group from a scan. The cursors of its segments come from the status.
    pub(crate) fn scanned_of(&self, group: Group, scan: &Scan, status: &GroupStatus) -> OfGroup {
        let finished = self.recorder.finished(group.name);
        let segments = status.segments.len() as u16;
        let cursors: BTreeMap<u16, u64> =
            status.segments.iter().map(|segment| (segment.segment, segment.cursor)).collect();
        let mut found = OfGroup::default();
        for event in &scan.events {
            let (kind, id) = match (&event.user, &event.correlation) {
                (Some(user), _) => ("user", user),
                (None, Some(correlation)) => ("correlation", correlation),
                (None, None) => ("event", &event.id),
            };
            let Position { partition, sequence, .. } = event.position;
            let segment = segment_of(&OrderingKey { kind, id }, partition, scan.partitions, segments);
            let is_passed = sequence <= cursors[&segment];
            if status.cursor(partition).is_some_and(|cursor| sequence > cursor) {
                found.lag += 1;
                found.waiting_since.get_or_insert(event.stored_at);
            }
            // No handler gets an expired event, so an expired event behind the cursor is finished.
            let is_expired = event.event_type == EXPIRING && is_passed;
            if !group.takes(&event.event_type) || finished.contains(&event.position) || is_expired {
                continue;
            }
            found.pending += 1;
            found.oldest_pending.get_or_insert(event.stored_at);
            if is_passed {
                found.blocked.insert(format!("{kind}={id}"), segment);
            }
        }
        for (of, user) in self.parked.keys().chain(self.releasing.values()) {
            if of == group.name {
                found.parked.insert(format!("user={user}"));
            }
        }
        found
    }
}
