//! Laws of pauses.

use std::time::Duration;

use domain::{
    group::{GroupPause, GroupSpec},
    ports::{Clock as _, GroupStoreError},
};

use super::append::ODD;
use crate::{Bench, Harness};

fn pause(bench: &Bench, source: &str) -> GroupPause {
    GroupPause {
        source: source.to_owned(),
        since: bench.clock.now(),
        by: "ann@desk".to_owned(),
        reason: None,
        until: None,
    }
}

async fn group(bench: &Bench, name: &str) {
    let head = bench.store.head().await.unwrap();
    bench.store.create_group(&GroupSpec::new(name), &head).await.unwrap();
}

/// Every handle reads each member of a pause exactly as it was put. Other groups have none of the pauses.
pub async fn a_pause_comes_back_as_it_was_put(h: &impl Harness) {
    let bench = Bench::new(h).await;
    group(&bench, "mail").await;
    group(&bench, "mailer").await;
    let mut put = Vec::new();
    for odd in ODD {
        let until = Some(bench.clock.now() + Duration::from_secs(5));
        let full =
            GroupPause { by: odd.to_string(), reason: Some(odd.to_string()), until, ..pause(&bench, odd) };
        bench.store.pause_group("mail", &full).await.unwrap();
        put.push(full);
    }
    put.sort_by(|one, other| one.source.cmp(&other.source));
    let other = bench.storage.open().await;
    assert_eq!(other.pauses("mail").await.unwrap(), put);
    assert_eq!(other.pauses("mailer").await.unwrap(), []);
    bench.verify_is_clean().await;
}

/// A source has one pause in each group.
pub async fn a_pause_takes_the_place_of_that_of_its_source(h: &impl Harness) {
    let bench = Bench::new(h).await;
    group(&bench, "mail").await;
    let first = pause(&bench, GroupPause::OPERATOR);
    let second = GroupPause { reason: Some("maintenance".to_owned()), ..first.clone() };
    for pause in [&first, &second] {
        bench.store.pause_group("mail", pause).await.unwrap();
    }
    assert_eq!(bench.store.pauses("mail").await.unwrap(), [second]);
}

/// Resuming with a source ends only the pause of that source. Resuming without a source ends all pauses.
pub async fn resuming_ends_the_pauses_that_it_names(h: &impl Harness) {
    let bench = Bench::new(h).await;
    group(&bench, "mail").await;
    let other = bench.storage.open().await;
    for source in ["a", "b", "c"] {
        bench.store.pause_group("mail", &pause(&bench, source)).await.unwrap();
    }
    assert_eq!(other.resume_group("mail", Some("b")).await.unwrap(), 1);
    assert_eq!(other.resume_group("mail", Some("b")).await.unwrap(), 0);
    let left = bench.store.pauses("mail").await.unwrap();
    assert_eq!(left.iter().map(|pause| pause.source.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(bench.store.resume_group("mail", None).await.unwrap(), 2);
    assert_eq!(other.pauses("mail").await.unwrap(), []);
}

/// Pausing an unknown group is refused.
pub async fn a_group_that_does_not_exist_is_not_paused(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let refused = bench.store.pause_group("mail", &pause(&bench, GroupPause::OPERATOR)).await;
    assert_eq!(refused, Err(GroupStoreError::NoGroup("mail".to_owned())));
    assert_eq!(bench.store.pauses("mail").await.unwrap(), []);
    assert_eq!(bench.store.resume_group("mail", None).await.unwrap(), 0);
}

/// A group that was deleted and created again is not paused. A reset leaves the pauses.
pub async fn pauses_go_with_their_group(h: &impl Harness) {
    let bench = Bench::new(h).await;
    group(&bench, "mail").await;
    let own = pause(&bench, GroupPause::OPERATOR);
    bench.store.pause_group("mail", &own).await.unwrap();
    let head = bench.store.head().await.unwrap();
    bench.store.reset_group("mail", &head).await.unwrap();
    assert_eq!(bench.store.pauses("mail").await.unwrap(), [own]);
    bench.store.delete_group("mail").await.unwrap();
    assert_eq!(bench.store.pauses("mail").await.unwrap(), []);
    group(&bench, "mail").await;
    assert_eq!(bench.store.pauses("mail").await.unwrap(), []);
    bench.verify_is_clean().await;
}
