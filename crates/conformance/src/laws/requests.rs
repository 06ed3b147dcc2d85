//! Laws of requests with an idempotency key, which clients may repeat.

use std::time::Duration;

use domain::{
    ports::RequestClaim,
    request::{RecordedAnswer, RequestId, RequestState},
};

use super::append::ODD;
use crate::{Bench, Harness};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(60);
const KEEP: Duration = Duration::from_secs(24 * 3600);

fn id(key: &str) -> RequestId {
    RequestId { principal: "a1".to_owned(), route: "POST /v1/redrives".to_owned(), key: key.to_owned() }
}

fn claim<'a>(claim: &'a str, digest: &'a str) -> RequestClaim<'a> {
    RequestClaim { claim, digest, lease: LEASE, keep: KEEP }
}

fn answer(body: &str) -> RecordedAnswer {
    RecordedAnswer { status: 202, media: "application/json".to_owned(), body: body.to_owned() }
}

/// If several handles begin a request at the same time, exactly one performs it.
pub async fn of_eight_that_begin_a_request_one_does(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let beginning = bench.handles(8).await.into_iter().enumerate().map(|(n, store)| {
        tokio::spawn(async move { store.begin_request(&id("k"), claim(&n.to_string(), "d")).await.unwrap() })
    });
    let (mut new, mut running) = (0, 0);
    for task in beginning.collect::<Vec<_>>() {
        match task.await.unwrap() {
            RequestState::New => new += 1,
            RequestState::Running => running += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((new, running), (1, 7));
    bench.verify_is_clean().await;
}

/// An answer is kept until its retention time ends, and may contain any text.
pub async fn an_answer_comes_back_from_every_handle(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let other = bench.storage.open().await;
    for (n, odd) in ODD.iter().enumerate() {
        let id = id(&n.to_string());
        assert_eq!(bench.store.begin_request(&id, claim("c", "d")).await.unwrap(), RequestState::New);
        assert!(bench.store.finish_request(&id, "c", Some(&answer(odd))).await.unwrap());
        bench.clock.advance(LEASE + SECOND);
        let told = other.begin_request(&id, claim("e", "d")).await.unwrap();
        assert_eq!(told, RequestState::Answered(answer(odd)));
    }
    bench.verify_is_clean().await;
}

/// A key stands for one request, during the request and after it.
pub async fn another_request_under_a_key_is_refused(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let store = &bench.store;
    assert_eq!(store.begin_request(&id("k"), claim("a", "d")).await.unwrap(), RequestState::New);
    assert_eq!(store.begin_request(&id("k"), claim("b", "other")).await.unwrap(), RequestState::Different);
    assert!(store.finish_request(&id("k"), "a", Some(&answer("{}"))).await.unwrap());
    assert_eq!(store.begin_request(&id("k"), claim("b", "other")).await.unwrap(), RequestState::Different);
}

/// A failed request that the client may repeat is performed again.
pub async fn a_request_without_an_answer_is_free_again(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let store = &bench.store;
    assert_eq!(store.begin_request(&id("k"), claim("a", "d")).await.unwrap(), RequestState::New);
    assert!(store.finish_request(&id("k"), "a", None).await.unwrap());
    assert_eq!(store.remembered_requests().await.unwrap(), 0);
    assert_eq!(store.begin_request(&id("k"), claim("b", "other")).await.unwrap(), RequestState::New);
    assert!(!store.finish_request(&id("never"), "a", None).await.unwrap());
    bench.verify_is_clean().await;
}

/// A process that ended or stalled loses its request to the next attempt.
pub async fn an_attempt_whose_lease_ended_changes_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let store = &bench.store;
    assert_eq!(store.begin_request(&id("k"), claim("a", "d")).await.unwrap(), RequestState::New);
    bench.clock.advance(LEASE - SECOND);
    assert_eq!(store.begin_request(&id("k"), claim("b", "d")).await.unwrap(), RequestState::Running);
    bench.clock.advance(2 * SECOND);
    assert_eq!(store.begin_request(&id("k"), claim("b", "d")).await.unwrap(), RequestState::New);
    for late in [None, Some(&answer("late"))] {
        assert!(!store.finish_request(&id("k"), "a", late).await.unwrap());
    }
    assert!(store.finish_request(&id("k"), "b", Some(&answer("{}"))).await.unwrap());
    let told = store.begin_request(&id("k"), claim("c", "d")).await.unwrap();
    assert_eq!(told, RequestState::Answered(answer("{}")));
    assert_eq!(store.remembered_requests().await.unwrap(), 1);
    bench.verify_is_clean().await;
}

/// Later requests remove expired records, some in each call.
pub async fn requests_are_forgotten_after_their_time(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let store = &bench.store;
    const MANY: u64 = 120;
    for n in 0..MANY {
        let id = id(&format!("{n:03}"));
        assert_eq!(store.begin_request(&id, claim("a", "d")).await.unwrap(), RequestState::New);
        store.finish_request(&id, "a", Some(&answer("{}"))).await.unwrap();
    }
    bench.clock.advance(KEEP - SECOND);
    store.begin_request(&id("late"), claim("a", "d")).await.unwrap();
    assert_eq!(store.remembered_requests().await.unwrap(), MANY + 1);
    bench.clock.advance(2 * SECOND);
    assert_eq!(store.begin_request(&id("000"), claim("b", "other")).await.unwrap(), RequestState::New);
    assert!(store.remembered_requests().await.unwrap() < MANY);
    for n in 0..3 {
        store.begin_request(&id(&format!("new-{n}")), claim("a", "d")).await.unwrap();
    }
    assert_eq!(store.remembered_requests().await.unwrap(), 5);
    assert_eq!(store.begin_request(&id("late"), claim("b", "d")).await.unwrap(), RequestState::Running);
    bench.verify_is_clean().await;
}

/// Client, route and key together identify a request.
pub async fn requests_with_odd_names_are_told_apart(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let names: Vec<RequestId> = ODD
        .iter()
        .flat_map(|odd| {
            let other = || "x".to_owned();
            let odd = (*odd).to_owned();
            [
                RequestId { principal: odd.clone(), route: other(), key: other() },
                RequestId { principal: other(), route: odd.clone(), key: other() },
                RequestId { principal: other(), route: other(), key: odd },
            ]
        })
        .collect();
    for (n, id) in names.iter().enumerate() {
        let begun = bench.store.begin_request(id, claim(&n.to_string(), "d")).await.unwrap();
        assert_eq!(begun, RequestState::New, "{id:?}");
        assert!(bench.store.finish_request(id, &n.to_string(), Some(&answer(&n.to_string()))).await.unwrap());
    }
    for (n, id) in names.iter().enumerate() {
        let told = bench.store.begin_request(id, claim("again", "d")).await.unwrap();
        assert_eq!(told, RequestState::Answered(answer(&n.to_string())), "{id:?}");
    }
    bench.verify_is_clean().await;
}
