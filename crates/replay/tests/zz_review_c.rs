#![allow(clippy::all, clippy::unwrap_used, clippy::panic, unused, missing_docs)]
mod support;
use domain::{ports::*, *};
use replay::*;
use std::{sync::Arc, time::Duration};
use storage_memory::MemoryStore;
use support::*;

#[tokio::test]
async fn days_before_1970() {
    let s = Arc::new(MemoryStore::default());
    let e: Vec<Event> = ["1969-12-31T23:59:59.5Z", "1969-12-30T23:59:59.25Z", "1969-12-31T00:00:00Z"].iter().enumerate().map(|(n, t)| Document::parse(format!(r#"{{"id":"e{n}","type":"t","version":"1","timestamp":"{t}","source":"s","metadata":{{}}}}"#).as_bytes(), &Limits::default()).unwrap().into_event().unwrap()).collect();
    s.append(&e, Atomicity::Each).await.unwrap();
    let p = manager(&s).plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    assert_eq!(
        Vec::from_iter(p.by_day.iter().map(|(d, n)| (d.as_str(), *n))),
        [("1969-12-30", 1), ("1969-12-31", 2)]
    );
}

#[tokio::test]
async fn memory_waits_for_ever() {
    let s = store(1).await;
    let head = s.head().await.unwrap();
    append(&s, [5]).await;
    s.changed(&head, Duration::MAX).await.unwrap();
}
#[tokio::test]
async fn memory_trims_any_limit() {
    let s = store(10).await;
    let t = s
        .trim(&TrimRequest {
            rule: RetentionRule { max_events: Some(5), ..Default::default() },
            holds: vec![],
            limit: usize::MAX,
            dry_run: false,
        })
        .await
        .unwrap();
    assert_eq!(t.events, 5);
}
#[tokio::test(start_paused = true)]
async fn extreme_paces_do_not_panic() {
    let s = store(3).await;
    for pace in [
        Pace::Delay(Duration::MAX),
        Pace::Rate(1e-300),
        Pace::Rate(f64::MIN_POSITIVE),
        Pace::Rate(1e300),
        Pace::Rate(f64::MAX),
    ] {
        let o = ReplayOptions { pace, all: true, batch_size: usize::MAX, ..Default::default() };
        let m = manager(&s);
        let plan = m
            .plan(PlanRequest { limit: Some(u64::MAX), ..PlanRequest::new(Filter::default()) }, None)
            .await
            .unwrap();
        plan.estimate(&o);
        let _ = m.run(&plan, &mut Recorder::default(), &o, &()).await.unwrap();
        pace.estimate(u64::MAX, 1);
        pace.estimate(u64::MAX, 1000);
        pace.estimate(u64::MAX, usize::MAX);
        pace.estimate(u64::MAX, 3);
        pace.estimate(u64::MAX, 1 << 63);
        pace.estimate((1 << 63) + 5, (1 << 63) + 1);
    }
}
#[tokio::test]
async fn a_plan_erased_in_the_middle_adds_up() {
    let s = store(25_000).await;
    let m = manager(&s);
    let plan = m
        .plan(PlanRequest { limit: Some(15_000), ..PlanRequest::new(Filter::default()) }, None)
        .await
        .unwrap();
    s.erase(&Entity::new("user", "u1")).await.unwrap();
    let mut rec = Recorder::default();
    let r = m.run(&plan, &mut rec, &ReplayOptions { batch_size: 777, ..unpaced() }, &()).await.unwrap();
    assert_eq!(r.done() + r.missing + r.remaining, 15_000);
    assert_eq!(r.missing, 3000, "{:?}", r.gaps.len());
    let mut rec = Recorder::failing([TargetError::Failed("x".into())]);
    let r = m.run(&plan, &mut rec, &ReplayOptions { batch_size: 777, ..unpaced() }, &()).await.unwrap();
    assert_eq!(r.done() + r.missing + r.remaining, 15_000);
}
/// A hold made between the listing of holds and the trim.
struct Late {
    inner: Arc<MemoryStore>,
    m: std::sync::Mutex<Option<ReplayManager>>,
}
struct MadeMeanwhile(Arc<MemoryStore>);
#[async_trait::async_trait]
impl CheckpointStore for MadeMeanwhile {
    async fn save_checkpoint(&self, c: Checkpoint, r: bool) -> Result<(), CheckpointStoreError> {
        self.0.save_checkpoint(c, r).await
    }
    async fn find_checkpoint(&self, n: &str) -> Result<Option<Checkpoint>, CheckpointStoreError> {
        self.0.find_checkpoint(n).await
    }
    async fn delete_checkpoint(&self, n: &str) -> Result<bool, CheckpointStoreError> {
        self.0.delete_checkpoint(n).await
    }
    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError> {
        let listed = self.0.list_checkpoints().await?;
        if listed.is_empty() {
            let new = NewCheckpoint {
                name: "m".into(),
                last_processed_event_id: Some("e4".into()),
                hold: true,
                ..Default::default()
            };
            manager(&self.0).checkpoints().create(new).await.unwrap(); // another process, just now
        }
        Ok(listed)
    }
}
#[tokio::test]
async fn a_hold_made_meanwhile_holds() {
    let s = store(100).await;
    let m = ReplayManager::new(
        s.clone(),
        s.clone(),
        Arc::new(MadeMeanwhile(s.clone())),
        None,
        Arc::new(SystemClock),
    );
    let r = m
        .apply_retention(&[RetentionRule { max_events: Some(10), ..Default::default() }], false, None)
        .await
        .unwrap();
    let left = s.info().await.unwrap().events;
    assert_eq!(left, 95, "{r:?}; the checkpoint holds what comes after e4");
}
