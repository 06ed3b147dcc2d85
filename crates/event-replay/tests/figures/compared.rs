//! Compares every figure with the result of a scan.

use std::collections::{BTreeMap, BTreeSet};

use event_replay::{
    DeadLetterState, Filter, Position, TypePattern,
    app::{
        bounds::Bounds,
        dead_letters::{LetterPages, failure_groups},
        groups::{self, GroupPosition},
        replays, stats,
    },
    domain::ports::{DeadLetterQuery, DeliveryOutcome, ReplayState},
    replay::ReplaySummary,
};
use serde_json::Value;

use crate::{
    history::{EXPIRING, GROUPS, Group, History},
    recorder::Answer,
    scanned::{Scan, Scanned},
};

impl History {
    /// Compares all figures.
    pub(crate) async fn compare(&self, at: &str) {
        let scan = self.scan().await;
        self.compare_counts(&scan, at).await;
        self.compare_letters(at).await;
        let all = groups::all(&self.store, &self.settings).await.unwrap();
        assert_eq!(all.len(), self.made.len(), "{at}: groups");
        let health = self.health().await;
        for position in &all {
            self.compare_group(position, &scan, &health, at).await;
        }
        self.compare_replays(&scan, at).await;
        self.compare_counters(&all, at).await;
        self.compare_alerts(&health, &scan, at);
    }

    /// Compares the counts of lists and dry runs, under several filters.
    async fn compare_counts(&self, scan: &Scan, at: &str) {
        type Matches = Box<dyn Fn(&Scanned) -> bool>;
        let types = |text: &str| Filter { types: vec![TypePattern::new(text)], ..Filter::default() };
        let source = Filter { sources: BTreeSet::from(["lab".to_owned()]), ..Filter::default() };
        let late = Filter { from: Some("2026-01-05T00:00:00Z".parse().unwrap()), ..Filter::default() };
        let filters: [(Filter, Matches); 6] = [
            (Filter::default(), Box::new(|_| true)),
            (types("user.*"), Box::new(|event| event.event_type.starts_with("user."))),
            (Filter::default().entity("user", "u3"), Box::new(|event| event.user.as_deref() == Some("u3"))),
            (Filter::correlation("c1"), Box::new(|event| event.correlation.as_deref() == Some("c1"))),
            (source, Box::new(|event| event.source == "lab")),
            (late, Box::new(|event| event.day.as_str() >= "2026-01-05")),
        ];
        for (filter, matches) in filters {
            let found: Vec<&Scanned> = scan.events.iter().filter(|event| matches(event)).collect();
            let told =
                stats::stats(&self.store, &self.settings, filter, &Bounds::default(), None).await.unwrap();
            assert_eq!(told.events, found.len() as u64, "{at}: events");
            assert_eq!(told.bytes, found.iter().map(|event| event.bytes).sum::<u64>(), "{at}: bytes");
            let by = |of: &dyn Fn(&Scanned) -> Option<String>| {
                let mut counts: BTreeMap<String, u64> = BTreeMap::new();
                for value in found.iter().filter_map(|event| of(event)) {
                    *counts.entry(value).or_default() += 1;
                }
                counts
            };
            assert_eq!(told.by_type, by(&|event| Some(event.event_type.clone())), "{at}: by type");
            assert_eq!(told.by_source, by(&|event| Some(event.source.clone())), "{at}: by source");
            assert_eq!(told.by_day, by(&|event| Some(event.day.clone())), "{at}: by day");
            let kinds = by(&|event| event.user.as_ref().map(|_| "user".to_owned()));
            assert_eq!(told.by_entity_kind, kinds, "{at}: by entity kind");
            let days: Vec<&str> = found.iter().map(|event| event.day.as_str()).collect();
            let day =
                |time: Option<event_replay::Timestamp>| time.map(|time| time.to_string()[..10].to_owned());
            assert_eq!(day(told.oldest).as_deref(), days.first().copied(), "{at}: oldest");
            assert_eq!(day(told.newest).as_deref(), days.last().copied(), "{at}: newest");
        }
        let info = self.store.info().await.unwrap();
        let bytes: u64 = scan.events.iter().map(|event| event.bytes).sum();
        assert_eq!((info.events, info.bytes), (scan.events.len() as u64, bytes), "{at}: info");
    }

    async fn compare_letters(&self, at: &str) {
        let mut pages = LetterPages::new(DeadLetterQuery::default(), None);
        let mut told: BTreeMap<(String, Position), (DeadLetterState, u32)> = BTreeMap::new();
        let mut oldest = BTreeMap::new();
        while let Some(page) = pages.page(&self.store).await.unwrap() {
            for letter in page {
                let first = oldest
                    .entry((letter.group.clone(), format!("{:?}", letter.state)))
                    .or_insert(letter.created_at);
                *first = letter.created_at.min(*first);
                let key = (letter.group, letter.position);
                assert!(told.insert(key, (letter.state, letter.attempts)).is_none(), "{at}: a letter twice");
            }
        }
        let known: BTreeMap<(String, Position), (DeadLetterState, u32)> =
            self.letters.iter().map(|(key, letter)| (key.clone(), (letter.state, letter.attempts))).collect();
        assert_eq!(told, known, "{at}: dead letters");
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        for ((group, _), (state, _)) in &known {
            *counts.entry((group.clone(), format!("{state:?}"))).or_default() += 1;
        }
        let counted = self.store.count_dead_letters().await.unwrap();
        let ages =
            counted.iter().map(|count| ((count.group.clone(), format!("{:?}", count.state)), count.oldest));
        assert_eq!(ages.collect::<BTreeMap<_, _>>(), oldest, "{at}: oldest dead letters");
        let counted =
            counted.into_iter().map(|count| ((count.group, format!("{:?}", count.state)), count.count));
        assert_eq!(counted.collect::<BTreeMap<_, _>>(), counts, "{at}: counts of dead letters");
        let alike = failure_groups(&self.store, DeadLetterQuery::default()).await.unwrap();
        assert_eq!(
            alike.iter().map(|alike| alike.count).sum::<u64>(),
            known.len() as u64,
            "{at}: by fingerprint"
        );
    }

    async fn compare_group(&self, told: &GroupPosition, scan: &Scan, health: &Value, at: &str) {
        let name = told.status.record.spec.name.as_str();
        let at = format!("{at}: group {name}");
        let group = *GROUPS.iter().find(|group| group.name == name).unwrap();
        let found = self.scanned_of(group, scan, &told.status);
        assert_eq!((told.lag, told.waiting_since), (found.lag, found.waiting_since), "{at}: lag");
        assert!(told.pending.is_exact, "{at}: pending");
        let pending = (told.pending.events, told.pending.oldest);
        assert_eq!(pending, (found.pending, found.oldest_pending), "{at}: pending");
        let one = groups::find(&self.store, &self.settings, name).await.unwrap();
        assert_eq!((one.pending, one.lag, one.lane()), (told.pending, told.lag, told.lane()), "{at}: show");

        // A key may wait for a removed event until a consumer reads the key.
        let rows = self.store.blocked_keys(name, 100_000).await.unwrap();
        let is_sure = |key: &String| {
            !self.removed_users.iter().any(|user| *key == format!("user={user}")) && key.starts_with("user=")
        };
        let parked = found.parked;
        let blocked: BTreeSet<String> =
            found.blocked.keys().cloned().chain(parked.clone()).filter(is_sure).collect();
        let listed: BTreeSet<String> =
            rows.iter().map(|(_, row)| row.key.to_string()).filter(is_sure).collect();
        assert_eq!(listed, blocked, "{at}: blocked keys");
        let listed: BTreeSet<String> = rows
            .iter()
            .filter(|(_, row)| row.due.is_none())
            .map(|(_, row)| row.key.to_string())
            .filter(is_sure)
            .collect();
        assert_eq!(listed, parked.into_iter().filter(is_sure).collect(), "{at}: parked keys");
        let row_count = rows.len() as u64;
        let parked_rows = rows.iter().filter(|(_, row)| row.due.is_none()).count() as u64;
        assert_eq!(
            (told.status.blocked_keys(), told.parked()),
            (row_count, parked_rows),
            "{at}: counts of keys"
        );
        for segment in &told.status.segments {
            let of = rows.iter().filter(|(number, _)| *number == segment.segment);
            assert_eq!(segment.blocked_keys, of.clone().count() as u64, "{at}: segment {}", segment.segment);
            assert_eq!(segment.oldest_blocked, of.map(|(_, row)| row.position).min(), "{at}: oldest blocked");
        }
        let after: Vec<(u16, u64)> =
            told.status.segments.iter().map(|segment| (segment.segment, 0)).collect();
        let lane = self.store.lane(name, &after, usize::MAX).await.unwrap();
        let waiting: usize = lane.iter().map(|batch| batch.positions.len()).sum();
        assert_eq!(told.lane(), waiting as u64, "{at}: lane");
        self.compare_group_health(told, health, &at);
    }

    fn compare_group_health(&self, told: &GroupPosition, health: &Value, at: &str) {
        let name = &told.status.record.spec.name;
        let check = |check: &str| {
            let checks = health["checks"].as_array().unwrap();
            let of = |found: &&Value| {
                found["name"] == check
                    && found["message"].as_str().unwrap().starts_with(&format!("group {name}:"))
            };
            checks.iter().find(of).unwrap_or_else(|| panic!("{at}: no check {check}")).clone()
        };
        assert_eq!(check("group-lag")["observed"], told.lag, "{at}: health");
        let pending = check("group-pending")["message"].as_str().unwrap().to_owned();
        let said = match told.pending.oldest {
            Some(_) => told.pending.in_words(),
            None => "no event is pending".to_owned(),
        };
        assert!(pending.contains(&said), "{at}: health says {pending}");
        let keys = check("group-blocked-keys");
        let said = keys["message"].as_str().unwrap();
        let blocked = match told.status.blocked_keys() {
            1 => "1 blocked key,".to_owned(),
            keys => format!("{keys} blocked keys,"),
        };
        assert!(
            said.contains(&blocked) && said.contains(&format!(" {} parked behind", told.parked())),
            "{at}: {said}"
        );
        let most = told.status.segments.iter().map(|segment| segment.blocked_keys).max().unwrap();
        assert_eq!(keys["observed"], most, "{at}: health");
        let consumers = check("group-consumers");
        assert_eq!(consumers["observed"], 0, "{at}: health");
        let waits = told.pending.events > 0 || told.lane() > 0;
        assert_eq!(consumers["status"] == "warn", waits, "{at}: health says {consumers}");
        let gaps = &told.status.record.gaps;
        if !gaps.is_empty() {
            assert_eq!(check("group-gaps")["observed"], gaps.len(), "{at}: health");
        }
    }

    async fn compare_replays(&self, scan: &Scan, at: &str) {
        let told = replays::newest(&self.store, 10_000).await.unwrap();
        let ids: BTreeSet<&String> = told.iter().map(|replay| &replay.id).collect();
        assert_eq!(ids, self.replays.iter().collect(), "{at}: replays");
        let mut counted: BTreeMap<Position, u32> = BTreeMap::new();
        let targets = self.recorder.targets();
        let delivered = targets.iter().filter(|(_, _, outcome)| *outcome != DeliveryOutcome::Skipped);
        delivered.for_each(|(_, position, _)| *counted.entry(*position).or_default() += 1);
        for replay in &told {
            let at = format!("{at}: replay {} ({:?})", replay.id, replay.state);
            match replay.groups.is_empty() {
                true => self.compare_target_replay(replay, &at),
                false => self.compare_group_replay(replay, &at),
            }
        }
        // The replay count of an event also has its replays into groups, one for each replay.
        let are_over =
            told.iter().all(|replay| replay.state == ReplayState::Completed || replay.groups.is_empty());
        if are_over && self.disturbed.is_empty() {
            let mut by_groups: BTreeSet<(String, Position)> = BTreeSet::new();
            for seen in self.recorder.seen() {
                if let (Some(replay), true) = (seen.replay(), seen.answer != Answer::Failed) {
                    by_groups.insert((replay.to_owned(), seen.position));
                }
            }
            let count = |at: Position| {
                let groups = by_groups.iter().filter(|(_, position)| *position == at).count() as u32;
                counted.get(&at).copied().unwrap_or(0) + groups
            };
            let positions = scan.events.iter().map(|event| event.position);
            let counts: BTreeMap<Position, u32> = positions.map(|at| (at, count(at))).collect();
            let shown: BTreeMap<Position, u32> =
                scan.events.iter().map(|event| (event.position, event.replays)).collect();
            assert_eq!(shown, counts, "{at}: replay counts of events");
        }
    }

    fn compare_target_replay(&self, replay: &ReplaySummary, at: &str) {
        let targets = self.recorder.targets();
        let of = |wanted: fn(&DeliveryOutcome) -> bool| {
            targets.iter().filter(|(id, _, outcome)| *id == replay.id && wanted(outcome)).count() as u64
        };
        let found = (
            of(|outcome| *outcome == DeliveryOutcome::Handled),
            of(|outcome| matches!(outcome, DeliveryOutcome::Failed(_))),
            of(|outcome| *outcome == DeliveryOutcome::Skipped),
        );
        assert_eq!((replay.successful, replay.failed, replay.skipped), found, "{at}");
        assert_eq!(replay.total_events, replay.done(), "{at}");
    }

    fn compare_group_replay(&self, replay: &ReplaySummary, at: &str) {
        let groups: Vec<(Group, BTreeMap<Position, Answer>)> = GROUPS
            .iter()
            .filter(|group| replay.groups.iter().any(|name| name == group.name))
            .map(|group| (*group, self.recorder.replayed(&replay.id, group.name)))
            .collect();
        let mut outcomes: BTreeMap<Position, Answer> = BTreeMap::new();
        for (position, answer) in groups.iter().flat_map(|(_, of)| of) {
            let known = outcomes.entry(*position).or_insert(*answer);
            if *answer == Answer::GaveUp {
                *known = Answer::GaveUp;
            }
        }
        let of = |wanted: Answer| outcomes.values().filter(|answer| **answer == wanted).count() as u64;
        let (handled, failed) = (of(Answer::Handled), of(Answer::GaveUp));
        let is_whole = replay.state == ReplayState::Completed && !self.disturbed.contains(&replay.id);
        if is_whole {
            assert_eq!((replay.successful, replay.failed), (handled, failed), "{at}");
            assert_eq!(replay.total_events, replay.done(), "{at}");
        } else {
            // The record never counts more events than were done.
            let most = handled + failed;
            assert!(replay.successful + replay.failed <= most, "{at}: {replay:?} of {most}");
        }
        let Some(report) = &replay.report else { return };
        let sum = report.done() + report.missing + report.remaining;
        assert_eq!(sum, report.total_events, "{at}: the parts of {report:?}");
        for (group, told) in groups.iter().flat_map(|(group, of)| {
            report.groups.iter().filter(|told| told.name == group.name).map(move |told| ((group, of), told))
        }) {
            let (_, seen) = group;
            let of = |wanted: Answer| seen.values().filter(|answer| **answer == wanted).count() as u64;
            let found = (of(Answer::Handled), of(Answer::GaveUp));
            match is_whole {
                true => assert_eq!((told.handled, told.failed), found, "{at}: {}", told.name),
                false => {
                    assert!(told.handled <= found.0 && told.failed <= found.1, "{at}: {told:?} of {found:?}");
                }
            }
        }
    }

    async fn compare_counters(&self, all: &[GroupPosition], at: &str) {
        let told = stats::stats(&self.store, &self.settings, Filter::default(), &Bounds::default(), None)
            .await
            .unwrap();
        for group in &told.groups {
            let position =
                all.iter().find(|position| position.status.record.spec.name == group.name).unwrap();
            assert_eq!(group.pending, position.pending, "{at}: stats of {}", group.name);
        }
        assert_eq!(told.groups.len(), all.len(), "{at}: stats of groups");
        let of = |state| self.letters.values().filter(|letter| letter.state == state).count() as u64;
        let letters = (
            told.dead_letters.open,
            told.dead_letters.redriving,
            told.dead_letters.handled,
            told.dead_letters.discarded,
        );
        let found = [
            DeadLetterState::Open,
            DeadLetterState::Redriving,
            DeadLetterState::Handled,
            DeadLetterState::Discarded,
        ]
        .map(of);
        assert_eq!(letters, found.into(), "{at}: stats of dead letters");

        let counters = &told.counters.in_all;
        assert_eq!(told.counters.last_15_minutes.handled, counters.handled, "{at}: the last minutes");
        let seen = self.recorder.seen();
        let count = |wanted: &dyn Fn(&crate::recorder::Seen) -> bool| {
            seen.iter().filter(|seen| wanted(seen)).count() as u64
        };
        let targets = self.recorder.targets();
        let to_target = |wanted: fn(&DeliveryOutcome) -> bool| {
            targets.iter().filter(|(_, _, outcome)| wanted(outcome)).count() as u64
        };
        assert_eq!((counters.admitted, counters.rejected), (self.admitted, self.rejected), "{at}: published");
        assert_eq!((counters.appended, counters.append_failed), (self.appended, 0), "{at}: appended");
        assert_eq!(counters.handled, count(&|seen| seen.answer == Answer::Handled), "{at}: handled");
        assert_eq!(counters.failed_attempts, count(&|seen| seen.answer != Answer::Handled), "{at}: failed");
        assert_eq!(counters.retried, count(&|seen| seen.answer == Answer::Failed), "{at}: retried");
        let gave_up = |lossy| {
            move |seen: &crate::recorder::Seen| {
                seen.answer == Answer::GaveUp && (seen.group == "lossy") == lossy
            }
        };
        assert_eq!(counters.dead_lettered, count(&gave_up(false)), "{at}: dead-lettered");
        assert_eq!(counters.dropped, count(&gave_up(true)), "{at}: dropped");
        let closed = count(&|seen| seen.is_redrive() && seen.answer == Answer::Handled) + self.discarded;
        assert_eq!(counters.dead_letters_closed, closed, "{at}: dead letters closed");
        let of_replays = |answer| count(&|seen| seen.replay().is_some() && seen.answer == answer);
        let handled = of_replays(Answer::Handled) + to_target(|outcome| *outcome == DeliveryOutcome::Handled);
        let failed =
            of_replays(Answer::GaveUp) + to_target(|outcome| matches!(outcome, DeliveryOutcome::Failed(_)));
        assert_eq!((counters.replay_handled, counters.replay_failed), (handled, failed), "{at}: replays");
        // An event that a group declines never reaches a handler, so the recorder gives only a lower bound.
        let skipped = to_target(|outcome| *outcome == DeliveryOutcome::Skipped);
        assert!(counters.replay_skipped >= skipped, "{at}: replays skipped");
        let declined = counters.replay_skipped - skipped;
        assert_eq!(counters.delivered, seen.len() as u64 + declined, "{at}: delivered");
        for time in &counters.processing_time {
            assert_eq!(
                time.count,
                count(&|seen| seen.event_type == time.event_type),
                "{at}: {}",
                time.event_type
            );
        }
    }

    fn compare_alerts(&self, health: &Value, scan: &Scan, at: &str) {
        let check = |name: &str| {
            let checks = health["checks"].as_array().unwrap();
            checks
                .iter()
                .find(|check| check["name"] == name)
                .unwrap_or_else(|| panic!("{at}: no {name}"))
                .clone()
        };
        assert_eq!(check("store")["observed"], scan.events.len(), "{at}: health");
        let open = self.letters.values().filter(|letter| letter.state == DeadLetterState::Open).count();
        assert_eq!(check("open-dead-letters")["observed"], open, "{at}: health");
        let seen = self.recorder.seen();
        let lost = seen.iter().filter(|seen| seen.group == "lossy" && seen.answer == Answer::GaveUp).count();
        assert_eq!(check("dropped-deliveries")["observed"], lost, "{at}: health");
        let refused = check("validation-failures");
        if self.admitted + self.rejected >= 20 {
            let percent = self.rejected as f64 * 100.0 / (self.admitted + self.rejected) as f64;
            assert!((refused["observed"].as_f64().unwrap() - percent).abs() < 0.01, "{at}: {refused}");
        }
        let mut types: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for seen in seen.iter().filter(|seen| seen.event_type != EXPIRING) {
            let (failed, all) = types.entry(&seen.event_type).or_default();
            *failed += f64::from(u8::from(seen.answer != Answer::Handled));
            *all += 1.0;
        }
        let failed = seen.iter().filter(|seen| seen.answer != Answer::Handled).count();
        let together = (failed as f64, seen.len() as f64);
        let rated = types.values().chain([&together]).filter(|(_, all)| *all >= 20.0);
        let rates = rated.map(|(failed, all)| failed * 100.0 / all);
        if let Some(worst) = rates.reduce(f64::max) {
            let failing = check("failing-attempts");
            assert!((failing["observed"].as_f64().unwrap() - worst).abs() < 0.01, "{at}: {failing}");
        }
    }
}
