//! Laws of the audit log.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    audit::{AuditEntry, AuditNote, AuditPhase},
    ports::Clock as _,
};
use serde_json::json;

use super::{append::ODD, support::keep_newest};
use crate::{Bench, Draft, Harness};

fn note(action: &str) -> AuditNote {
    AuditNote {
        operator: "ann@host".to_owned(),
        action: action.to_owned(),
        subject: None,
        reason: None,
        plan_hash: None,
        phase: AuditPhase::Begun,
        details: BTreeMap::new(),
    }
}

/// Returns all entries, oldest first, read through another handle.
async fn entries(bench: &Bench) -> Vec<AuditEntry> {
    let mut all = bench.storage.open().await.audit(None, 10_000).await.unwrap();
    all.reverse();
    all
}

/// Every handle reads each text, number and time exactly as it was written.
pub async fn an_entry_of_the_audit_comes_back_as_it_was_written(h: &impl Harness) {
    let bench = Bench::new(h).await;
    assert_eq!(bench.store.audit(None, 10).await.unwrap(), []);
    let mut written = Vec::new();
    for odd in ODD {
        let details = BTreeMap::from([(odd.to_string(), json!({"n": 1.5, "all": [odd, null, true]}))]);
        let full = AuditNote {
            operator: odd.to_string(),
            subject: Some(odd.to_string()),
            reason: Some(odd.to_string()),
            plan_hash: Some("f0".repeat(32)),
            phase: AuditPhase::Failed { begun: 1, error: odd.to_string() },
            details,
            ..note("dead-letters redrive")
        };
        let entry = bench.store.append_audit(&full).await.unwrap();
        assert_eq!(entry.note, full);
        written.push(entry);
    }
    assert_eq!(entries(&bench).await, written);
    bench.verify_is_clean().await;
}

/// Numbers rise by one from 1, and each entry contains the hash of the previous entry.
pub async fn the_audit_is_a_chain_without_gaps(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for n in 0..5 {
        bench.clock.advance(std::time::Duration::from_secs(1));
        bench.store.append_audit(&note(&format!("action {n}"))).await.unwrap();
    }
    check_chain(&entries(&bench).await, 5);
    assert!(entries(&bench).await.iter().all(|entry| entry.at <= bench.clock.now()));
}

fn check_chain(entries: &[AuditEntry], count: u64) {
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, Vec::from_iter(1..=count));
    assert!(entries.iter().all(AuditEntry::is_unaltered));
    assert_eq!(entries[0].previous, "");
    for two in entries.windows(2) {
        assert_eq!(two[1].previous, two[0].hash, "{two:?}");
    }
}

/// Concurrent writers produce one chain with all their entries.
pub async fn eight_writers_make_one_chain(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let writing = bench.handles(8).await.into_iter().enumerate().map(|(writer, store)| {
        tokio::spawn(async move {
            for n in 0..4 {
                store.append_audit(&note(&format!("{writer}/{n}"))).await.unwrap();
            }
        })
    });
    for task in writing.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let all = entries(&bench).await;
    check_chain(&all, 32);
    let actions: BTreeSet<&str> = all.iter().map(|entry| entry.note.action.as_str()).collect();
    assert_eq!(actions.len(), 32);
    bench.verify_is_clean().await;
}

/// A page below a number returns the remaining entries, newest first.
pub async fn the_audit_is_read_newest_first_over_pages(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for n in 0..9 {
        bench.store.append_audit(&note(&format!("action {n}"))).await.unwrap();
    }
    for limit in [1, 2, 9, 10] {
        let (mut below, mut read) = (None, Vec::new());
        loop {
            let page = bench.store.audit(below, limit).await.unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            below = Some(last.number);
            read.extend(page.iter().map(|entry| entry.number));
        }
        assert_eq!(read, Vec::from_iter((1..=9).rev()), "in pages of {limit}");
    }
    assert_eq!(bench.store.audit(Some(100), 1).await.unwrap()[0].number, 9);
    assert_eq!(bench.store.audit(Some(1), 5).await.unwrap(), []);
}

/// No removal of events removes audit entries.
pub async fn trimming_and_erasing_leave_the_audit(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let of_user = |n: usize| Draft::new(&format!("e-{n}")).with("userId", "u1").event();
    bench.store_all(&(0..4).map(of_user).collect::<Vec<_>>()).await;
    let subject = Some("u1".to_owned());
    bench.store.append_audit(&AuditNote { subject, ..note("erase") }).await.unwrap();
    let before = entries(&bench).await;
    bench.trim(&keep_newest(1)).await;
    bench.erase("user", "u1").await;
    assert_eq!(entries(&bench).await, before);
    bench.verify_is_clean().await;
}
