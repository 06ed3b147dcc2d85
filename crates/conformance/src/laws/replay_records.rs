//! Laws of the records of replays: their runner, progress and commands.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    group::LaneResult,
    ports::{
        Clock as _, ReplayCommand, ReplayLease, ReplayRecord, ReplayState, ReplayStoreError, ReplayUpdate,
        SegmentCommit,
    },
};

use super::{
    append::ODD,
    support::{LEASE, LONG, batch, planned, progress, spec},
};
use crate::{Bench, Draft, Harness, Stores};

use ReplayState::{Cancelled, Cancelling, Completed, Failed, Paused, Planned, Running};

fn step(state: ReplayState) -> ReplayUpdate {
    ReplayUpdate { state, progress: "p".to_owned(), hold: None, settled_batches: 0 }
}

async fn lease(store: &dyn Stores, id: &str, token: u64) -> Option<ReplayLease> {
    store.lease_replay(id, token, LEASE).await.unwrap()
}

fn ids(records: &[ReplayRecord]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

impl Bench {
    async fn record(&self, id: &str) -> ReplayRecord {
        self.storage.open().await.find_replay(id).await.unwrap().unwrap_or_else(|| panic!("a replay {id:?}"))
    }

    async fn state(&self, id: &str) -> ReplayState {
        self.record(id).await.state
    }

    /// Creates a replay in a given state.
    async fn replay_in(&self, id: &str, state: ReplayState) {
        self.store.create_replay(&ReplayRecord { state, ..planned(self, id) }).await.unwrap();
    }

    async fn command(&self, id: &str, command: ReplayCommand) -> Option<ReplayState> {
        self.store.request(id, command).await.unwrap()
    }
}

/// Every handle reads each member of a record exactly as it was created, with an id of any text.
pub async fn a_replays_record_comes_back_as_it_was_made(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&Draft::many("e", 3)).await;
    let states = [Planned, Running, Paused, Cancelling, Cancelled, Completed, Failed];
    for (n, id) in ODD.iter().enumerate() {
        let record = ReplayRecord {
            state: states[n % states.len()],
            updated_at: bench.clock.now() + Duration::from_nanos(n as u64),
            hold: (n % 2 == 0).then_some(bench.mark(n as u64 % 4).await),
            progress: format!("{id}\u{0}"),
            steering: (n % 3 == 0).then(|| format!("\u{202e}{id}\u{0}")),
            ..planned(&bench, id)
        };
        bench.store.create_replay(&record).await.unwrap();
        assert_eq!(bench.record(id).await, record);
    }
    assert_eq!(bench.store.list_replays(1_000).await.unwrap().len(), ODD.len());
    for absent in ["", "B", "%a"] {
        assert_eq!(bench.store.find_replay(absent).await.unwrap(), None, "{absent:?}");
    }
}

/// An existing id is refused, and nothing changes. Of several concurrent callers, one creates the record.
pub async fn a_replay_is_made_once(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let first = planned(&bench, "r");
    bench.store.create_replay(&first).await.unwrap();
    let other = ReplayRecord { state: Failed, plan: "other".to_owned(), ..first.clone() };
    let refusal = bench.storage.open().await.create_replay(&other).await;
    assert_eq!(refusal, Err(ReplayStoreError::Exists("r".to_owned())));
    assert_eq!(bench.record("r").await, first);
    let mut callers = tokio::task::JoinSet::new();
    for store in bench.handles(4).await {
        let record = planned(&bench, "s");
        callers.spawn(async move { store.create_replay(&record).await });
    }
    let made = callers.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(made, 1);
}

/// The list is sorted by creation time, newest first, and then by id, up to the limit.
pub async fn replays_are_listed_newest_first(h: &impl Harness) {
    let bench = Bench::new(h).await;
    assert_eq!(bench.store.list_replays(9).await.unwrap(), []);
    let start = bench.clock.now();
    for (id, second) in [("m", 3), ("z", 1), ("b", 2), ("a", 2), ("c", 2)] {
        let created_at = start + Duration::from_secs(second);
        let record = ReplayRecord { created_at, ..planned(&bench, id) };
        bench.store.create_replay(&record).await.unwrap();
    }
    for limit in [1, 2, 4, 5, 9] {
        let listed = bench.store.list_replays(limit).await.unwrap();
        assert_eq!(ids(&listed), &["m", "c", "b", "a", "z"][..limit.min(5)]);
    }
}

/// Replays that are not over and have no runner are listed, oldest first. A runner with an expired lease does not
/// count.
pub async fn replays_without_a_runner_wait(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let all = [Planned, Running, Paused, Cancelling, Cancelled, Completed, Failed];
    for (n, state) in all.into_iter().enumerate() {
        bench.clock.advance(Duration::from_secs(1));
        bench.replay_in(&format!("r{}", 9 - n), state).await;
    }
    let waiting = async || {
        let waiting = bench.storage.open().await.waiting_replays().await.unwrap();
        waiting.into_iter().map(|record| record.id).collect::<Vec<_>>()
    };
    assert_eq!(waiting().await, ["r9", "r8", "r7", "r6"]);
    lease(&*bench.store, "r8", 1).await.unwrap();
    assert_eq!(waiting().await, ["r9", "r7", "r6"]);
    bench.clock.advance(LEASE + Duration::from_secs(1));
    assert_eq!(waiting().await, ["r9", "r8", "r7", "r6"]);
}

/// A replay has one runner until the lease expires. A repeated request under the same token extends the same lease. The
/// lease of the next runner has a higher epoch.
pub async fn a_replay_has_one_runner(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.replay_in("r", Planned).await;
    let other = bench.storage.open().await;
    let first = lease(&*bench.store, "r", u64::MAX).await.unwrap();
    assert_eq!((first.replay_id.as_str(), first.token), ("r", u64::MAX));
    for _ in 0..3 {
        assert_eq!(lease(&*other, "r", 1).await, None);
        bench.clock.advance(LEASE - Duration::from_secs(1));
        assert_eq!(lease(&*bench.store, "r", u64::MAX).await.as_ref(), Some(&first));
    }
    bench.clock.advance(LEASE + Duration::from_secs(1));
    let second = lease(&*other, "r", 1).await.unwrap();
    assert!(second.epoch > first.epoch, "{second:?} after {first:?}");
    assert_eq!(lease(&*bench.store, "r", u64::MAX).await, None);
    assert_eq!(lease(&*bench.store, "unknown", 1).await, None);
    for state in [Cancelled, Completed, Failed] {
        let id = format!("{state:?}");
        bench.replay_in(&id, state).await;
        assert_eq!(lease(&*bench.store, &id, 1).await, None, "{id}");
    }
    for state in [Paused, Cancelling, Running] {
        let id = format!("{state:?}");
        bench.replay_in(&id, state).await;
        assert!(lease(&*bench.store, &id, 1).await.is_some(), "{id}");
    }
}

/// Of several runners that request a replay at the same time, one gets it.
pub async fn of_eight_runners_at_once_one_has_the_replay(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.replay_in("r", Planned).await;
    let mut epochs = BTreeSet::new();
    for round in 1..4 {
        let mut runners = tokio::task::JoinSet::new();
        for (token, store) in bench.handles(8).await.into_iter().enumerate() {
            runners.spawn(async move { lease(&*store, "r", round * 100 + token as u64).await });
        }
        let leases: Vec<_> = runners.join_all().await.into_iter().flatten().collect();
        assert_eq!(leases.len(), 1, "{leases:?}");
        assert!(epochs.insert(leases[0].epoch), "an epoch was given twice: {leases:?}");
        bench.clock.advance(LONG);
    }
}

/// A replaced runner changes nothing. A runner of a finished replay, or of another replay, changes nothing either.
pub async fn an_update_under_an_old_lease_is_fenced(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.replay_in("r", Planned).await;
    bench.replay_in("idle", Planned).await;
    let old = lease(&*bench.store, "r", 1).await.unwrap();
    bench.clock.advance(LONG);
    // Time alone does not end a lease.
    assert_eq!(bench.store.update_replay(&old, &step(Running)).await.unwrap(), Running);
    let newest = lease(&*bench.storage.open().await, "r", 2).await.unwrap();
    let before = bench.record("r").await;
    bench.clock.advance(Duration::from_secs(1));
    let forged = [
        old.clone(),
        ReplayLease { token: old.token, ..newest.clone() },
        ReplayLease { epoch: newest.epoch + 1, ..newest.clone() },
        ReplayLease { replay_id: "idle".to_owned(), ..newest.clone() },
        ReplayLease { replay_id: "unknown".to_owned(), ..newest.clone() },
    ];
    for lease in forged {
        for state in [Running, Completed] {
            let refusal = bench.store.update_replay(&lease, &step(state)).await;
            assert_eq!(refusal, Err(ReplayStoreError::Fenced), "{lease:?}");
        }
    }
    assert_eq!(bench.record("r").await, before);
    assert_eq!(bench.record("idle").await.state, Planned);
    assert_eq!(bench.store.update_replay(&newest, &step(Failed)).await.unwrap(), Failed);
    let refusal = bench.store.update_replay(&newest, &step(Running)).await;
    assert_eq!(refusal, Err(ReplayStoreError::Fenced), "a final state ends the lease");
    assert_eq!(bench.state("r").await, Failed);
}

/// Creates a group with results of a replay's batches 0 to 4. Batch `n` has `n + 1` references.
async fn results_of(bench: &Bench, id: &str) -> Vec<LaneResult> {
    bench.make_group(&spec(id, 1), 0).await;
    let batches: Vec<_> = (0..5).map(|n| batch(id, 0, id, n, &Vec::from_iter(1..n + 2))).collect();
    bench.queue(&batches).await;
    let lease = bench.only(id, "c").await;
    let lane = bench.lane_of(id, 0).await;
    let lane_done = lane.iter().rev().map(|batch| (batch.seq, progress(9, &[]))).collect();
    bench.commit_ok(SegmentCommit { lane_done, ..SegmentCommit::new(lease, 0, 0) }).await;
    lane.iter().map(|batch| batch.result(id).unwrap()).collect()
}

/// An update by the runner stores the state, progress, hold and time, and removes the settled results.
pub async fn an_update_changes_all_of_a_replay_at_once(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 3)).await;
    bench.replay_in("r", Planned).await;
    let results = results_of(&bench, "r").await;
    let made = bench.record("r").await;
    let lease = lease(&*bench.store, "r", 1).await.unwrap();
    bench.clock.advance(Duration::from_secs(3));
    let hold = Some(bench.mark(2).await);
    let progress = "\u{202e}'\r\n".to_owned();
    let update =
        ReplayUpdate { state: Running, progress: progress.clone(), hold: hold.clone(), settled_batches: 3 };
    assert_eq!(bench.storage.open().await.update_replay(&lease, &update).await.unwrap(), Running);
    let updated_at = bench.clock.now();
    let expected = ReplayRecord { state: Running, progress, hold, updated_at, ..made };
    assert_eq!(bench.record("r").await, expected);
    assert_eq!(bench.store.results("r", 10).await.unwrap(), results[3..]);
    let settled = ReplayUpdate { settled_batches: 5, ..step(Completed) };
    assert_eq!(bench.store.update_replay(&lease, &settled).await.unwrap(), Completed);
    assert_eq!(bench.store.results("r", 10).await.unwrap(), []);
    assert_eq!(bench.record("r").await.hold, None);
}

/// Steering replaces the steering before it, and says when. Steps and commands keep it; a replay that is over is not steered.
pub async fn steering_outlasts_steps_and_commands(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.replay_in("r", Planned).await;
    bench.replay_in("other", Planned).await;
    let steer = async |id: &str, steering: &str| {
        bench.clock.advance(Duration::from_secs(1));
        bench.storage.open().await.steer(id, steering).await.unwrap()
    };
    assert_eq!(steer("r", "one").await, Some(Planned));
    assert_eq!(bench.record("r").await.updated_at, bench.clock.now());
    let lease = lease(&*bench.store, "r", 1).await.unwrap();
    bench.store.update_replay(&lease, &step(Running)).await.unwrap();
    assert_eq!(bench.record("r").await.steering.as_deref(), Some("one"));
    assert_eq!(bench.command("r", ReplayCommand::Pause).await, Some(Paused));
    assert_eq!(steer("r", "\u{202e}'\r\n\0").await, Some(Paused));
    assert_eq!(bench.command("r", ReplayCommand::Resume).await, Some(Planned));
    let before = bench.record("r").await;
    assert_eq!(before.steering.as_deref(), Some("\u{202e}'\r\n\0"));
    assert_eq!(steer("r", "two").await, Some(Planned));
    let expected = ReplayRecord { steering: Some("two".to_owned()), updated_at: bench.clock.now(), ..before };
    assert_eq!(bench.record("r").await, expected);
    assert_eq!(bench.store.update_replay(&lease, &step(Completed)).await.unwrap(), Completed);
    let over = bench.record("r").await;
    assert_eq!(over.steering.as_deref(), Some("two"));
    assert_eq!(steer("r", "three").await, Some(Completed));
    assert_eq!(bench.record("r").await, over);
    assert_eq!(bench.record("other").await.steering, None);
    assert_eq!(steer("unknown", "one").await, None);
}

/// Results are sorted by batch, up to the limit, and belong to the given replay.
pub async fn results_come_by_batch(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    for id in ["r", "s"] {
        bench.replay_in(id, Planned).await;
    }
    let (of_r, of_s) = (results_of(&bench, "r").await, results_of(&bench, "s").await);
    let store = bench.storage.open().await;
    for limit in [1, 3, 5, 100] {
        assert_eq!(store.results("r", limit).await.unwrap(), of_r[..limit.min(5)]);
    }
    assert_eq!(store.results("s", 100).await.unwrap(), of_s);
    assert_eq!(store.results("unknown", 100).await.unwrap(), []);
}

/// A command changes the state of a replay that is not over. A replay that is over or unknown stays unchanged.
pub async fn a_command_turns_a_replay_that_is_not_over(h: &impl Harness) {
    use ReplayCommand::{Cancel, Pause, Resume};
    let bench = Bench::new(h).await;
    for (state, command, run, expected) in [
        (Planned, Pause, false, Paused),
        (Planned, Pause, true, Paused),
        (Running, Pause, true, Paused),
        (Running, Cancel, true, Cancelling),
        (Paused, Cancel, true, Cancelling),
        (Paused, Resume, false, Planned),
        (Paused, Resume, true, Planned),
        (Planned, Resume, false, Planned),
        (Running, Resume, true, Running),
        (Cancelling, Resume, true, Cancelling),
        (Planned, Cancel, false, Cancelled),
        (Running, Cancel, false, Cancelled),
        (Paused, Cancel, false, Cancelled),
        (Cancelling, Cancel, false, Cancelled),
        (Cancelled, Resume, false, Cancelled),
        (Completed, Cancel, false, Completed),
        (Completed, Pause, false, Completed),
        (Failed, Resume, false, Failed),
    ] {
        let what = format!("{command:?} of one that is {state:?}, run: {run}");
        bench.replay_in(&what, state).await;
        if run {
            lease(&*bench.store, &what, 1).await.unwrap();
        }
        let before = bench.record(&what).await;
        assert_eq!(bench.command(&what, command).await, Some(expected), "{what}");
        assert_eq!(bench.state(&what).await, expected, "{what}");
        if state.is_final() {
            assert_eq!(bench.record(&what).await, before, "{what}");
        }
    }
    assert_eq!(bench.command("unknown", Pause).await, None);
    // A runner with an expired lease does not count as running.
    bench.replay_in("left", Running).await;
    lease(&*bench.store, "left", 1).await.unwrap();
    bench.clock.advance(LONG);
    assert_eq!(bench.command("left", Cancel).await, Some(Cancelled));
    assert_eq!(lease(&*bench.store, "left", 2).await, None);
}

/// A command between two updates of the runner stays in effect, and the runner sees it. It ends when the command is
/// answered or the replay is over.
pub async fn a_command_outlasts_the_runners_steps(h: &impl Harness) {
    use ReplayCommand::{Cancel, Pause, Resume};
    let bench = Bench::new(h).await;
    bench.replay_in("r", Planned).await;
    let runner = lease(&*bench.store, "r", 1).await.unwrap();
    let update = async |state| {
        let state = bench.store.update_replay(&runner, &step(state)).await.unwrap();
        assert_eq!(bench.state("r").await, state);
        state
    };
    assert_eq!(update(Running).await, Running);
    bench.command("r", Pause).await;
    assert_eq!(update(Running).await, Paused);
    assert_eq!(bench.record("r").await.progress, "p", "the rest of the step is kept");
    assert_eq!(update(Paused).await, Paused);
    bench.command("r", Resume).await;
    assert_eq!(update(Running).await, Running);
    bench.command("r", Cancel).await;
    assert_eq!(update(Running).await, Cancelling);
    assert_eq!(update(Paused).await, Cancelling, "pausing does not answer a command to cancel");
    assert_eq!(update(Cancelled).await, Cancelled);

    bench.replay_in("s", Planned).await;
    let runner = lease(&*bench.store, "s", 1).await.unwrap();
    bench.command("s", Pause).await;
    let through = bench.store.update_replay(&runner, &step(Completed)).await.unwrap();
    assert_eq!((through, bench.state("s").await), (Completed, Completed));
}

/// Deleting a finished replay also deletes its results. Other replays keep their results.
pub async fn deleting_takes_replays_that_are_over_alone(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    for state in [Planned, Running, Paused, Cancelling] {
        let id = format!("{state:?}");
        bench.replay_in(&id, state).await;
        assert!(!bench.store.delete_replay(&id).await.unwrap(), "{id}");
        assert_eq!(bench.state(&id).await, state);
    }
    for id in ["r", "s"] {
        bench.replay_in(id, Planned).await;
        results_of(&bench, id).await;
    }
    bench.command("r", ReplayCommand::Cancel).await;
    assert_eq!(bench.store.results("r", 10).await.unwrap().len(), 5);
    assert!(bench.storage.open().await.delete_replay("r").await.unwrap());
    assert!(!bench.store.delete_replay("r").await.unwrap());
    assert_eq!(bench.store.find_replay("r").await.unwrap(), None);
    assert_eq!(bench.store.results("r", 10).await.unwrap(), []);
    assert_eq!(bench.store.results("s", 10).await.unwrap().len(), 5);
    let listed = bench.store.list_replays(100).await.unwrap();
    let left: BTreeSet<_> = listed.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(left, BTreeSet::from(["Planned", "Running", "Paused", "Cancelling", "s"]));
}
