//! Laws of stored plans.

use std::time::Duration;

use domain::{
    plan::{PlanApproval, PlanRecord, PlanRun},
    ports::Clock as _,
};

use super::{append::ODD, support::keep_newest};
use crate::{Bench, Draft, Harness};

fn plan(bench: &Bench, id: &str) -> PlanRecord {
    let now = bench.clock.now();
    PlanRecord {
        id: id.to_owned(),
        hash: format!("hash of {id}"),
        created_at: now,
        created_by: "ann@desk".to_owned(),
        expires_at: now + Duration::from_secs(3_600),
        total_events: 12_345,
        to: "group mail".to_owned(),
        approval_reason: None,
        approval: None,
        applied: None,
    }
}

/// Every handle reads each member of a plan exactly as it was stored, by id and in the list.
pub async fn a_plan_comes_back_as_it_was_kept(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let mut added = Vec::new();
    for (n, odd) in ODD.iter().enumerate() {
        let at = bench.clock.now();
        let approval = PlanApproval { by: odd.to_string(), at, hash: odd.to_string() };
        let full = PlanRecord {
            created_by: odd.to_string(),
            to: odd.to_string(),
            approval_reason: Some(odd.to_string()),
            approval: Some(approval.clone()),
            applied: Some(PlanRun { by: odd.to_string(), at, approval: Some(approval) }),
            ..plan(&bench, &format!("id-{n:02}"))
        };
        assert!(bench.store.add_plan(&full, &format!("{odd} document")).await.unwrap());
        added.push(full);
    }
    let other = bench.storage.open().await;
    for (plan, odd) in added.iter().zip(ODD) {
        assert_eq!(other.plan(&plan.id).await.unwrap().as_ref(), Some(plan));
        assert_eq!(other.plan_document(&plan.id).await.unwrap(), Some(format!("{odd} document")));
    }
    assert_eq!((other.plan("no").await.unwrap(), other.plan_document("no").await.unwrap()), (None, None));
    bench.verify_is_clean().await;
}

/// A refused plan does not change the existing one.
pub async fn a_plan_is_kept_once(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let first = plan(&bench, "a");
    assert!(bench.store.add_plan(&first, "one").await.unwrap());
    let second = PlanRecord { total_events: 1, ..first.clone() };
    assert!(!bench.store.add_plan(&second, "two").await.unwrap());
    assert_eq!(bench.store.list_plans().await.unwrap(), [first]);
    assert_eq!(bench.store.plan_document("a").await.unwrap().as_deref(), Some("one"));
}

/// The list is sorted by creation time, newest first, and then by id.
pub async fn plans_are_listed_newest_first(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for id in ["b", "c"] {
        bench.store.add_plan(&plan(&bench, id), "").await.unwrap();
    }
    bench.clock.advance(Duration::from_secs(1));
    bench.store.add_plan(&plan(&bench, "a"), "").await.unwrap();
    let ids = |plans: Vec<PlanRecord>| plans.into_iter().map(|plan| plan.id).collect::<Vec<_>>();
    assert_eq!(ids(bench.store.list_plans().await.unwrap()), ["a", "c", "b"]);
}

/// If several handles change a record at the same time, exactly one succeeds. The others change nothing.
pub async fn of_eight_that_change_a_plan_one_does(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let before = plan(&bench, "a");
    bench.store.add_plan(&before, "document").await.unwrap();
    let at = bench.clock.now();
    let changing = bench.handles(8).await.into_iter().enumerate().map(|(n, store)| {
        let before = before.clone();
        tokio::spawn(async move {
            let approval = Some(PlanApproval { by: format!("operator {n}"), at, hash: before.hash.clone() });
            let after = PlanRecord { approval, ..before.clone() };
            store.replace_plan(&before, &after).await.unwrap().then_some(after)
        })
    });
    let mut won = Vec::new();
    for task in changing.collect::<Vec<_>>() {
        won.extend(task.await.unwrap());
    }
    assert_eq!(won.len(), 1);
    assert_eq!(bench.store.list_plans().await.unwrap(), won);
    assert!(!bench.store.replace_plan(&before, &before).await.unwrap());
    assert_eq!(bench.store.plan_document("a").await.unwrap().as_deref(), Some("document"));
    let unknown = plan(&bench, "z");
    assert!(!bench.store.replace_plan(&unknown, &unknown).await.unwrap());
    assert_eq!(bench.store.plan("z").await.unwrap(), None);
}

/// A deletion removes the record and the document of this plan only.
pub async fn a_deleted_plan_is_gone_from_every_handle(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let other = bench.storage.open().await;
    for id in ["a", "b"] {
        bench.store.add_plan(&plan(&bench, id), id).await.unwrap();
    }
    assert!(other.delete_plan("a").await.unwrap());
    assert!(!bench.store.delete_plan("a").await.unwrap());
    assert_eq!(bench.store.plan("a").await.unwrap(), None);
    assert_eq!(bench.store.plan_document("a").await.unwrap(), None);
    assert_eq!(bench.store.plan_document("b").await.unwrap().as_deref(), Some("b"));
    bench.verify_is_clean().await;
}

/// No removal of events removes plans.
pub async fn trimming_and_erasing_leave_plans(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let of_user = |n: usize| Draft::new(&format!("e-{n}")).with("userId", "u1").event();
    bench.store_all(&(0..4).map(of_user).collect::<Vec<_>>()).await;
    let own = plan(&bench, "u1");
    bench.store.add_plan(&own, "u1").await.unwrap();
    bench.trim(&keep_newest(1)).await;
    bench.erase("user", "u1").await;
    assert_eq!(bench.store.list_plans().await.unwrap(), [own]);
    assert_eq!(bench.store.plan_document("u1").await.unwrap().as_deref(), Some("u1"));
}
