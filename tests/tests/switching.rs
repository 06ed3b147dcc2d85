//! The switch from a server to a cluster while services work. Publishers switch one by one, each during a pause. The
//! pause is used to migrate the events that were published until then. No event is lost or repeated, and keys keep
//! their order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{
    Filter,
    ports::{AppendOutcome, Atomicity, ReadRequest, Stores},
};
use migrate::{Options, Report, copy};
use servers::Binary;
use support::{
    admitted,
    consumers::{Keeper, World},
    effects::{Does, Planned},
};
use tokio::sync::{mpsc, oneshot};

const PUBLISHERS: usize = 4;
const KEYS: usize = 5;

/// The publisher sends when it pauses, and receives the store with which it continues.
type GoingOver = (oneshot::Sender<()>, oneshot::Receiver<Arc<dyn Stores>>);

/// A publisher that can pause and switch to another store.
struct Publisher {
    goes_over: mpsc::Sender<GoingOver>,
    ends: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<usize>,
}

fn publisher(number: usize, mut store: Arc<dyn Stores>) -> Publisher {
    let (goes_over, mut pauses) = mpsc::channel::<GoingOver>(1);
    let (ends, mut end) = oneshot::channel();
    let task = tokio::spawn(async move {
        let mut counts = [0; KEYS];
        for at in 0.. {
            if end.try_recv().is_ok() {
                break;
            }
            if let Ok((paused, elsewhere)) = pauses.try_recv() {
                paused.send(()).unwrap();
                store = elsewhere.await.unwrap();
            }
            let key = at % KEYS;
            let event =
                Planned { key: format!("k{number}.{key}"), n: counts[key], does: Does::Works, takes_ms: 0 };
            counts[key] += 1;
            let outcomes = store.append(&[admitted(&event.json())], Atomicity::Each).await.unwrap();
            assert!(matches!(outcomes[..], [AppendOutcome::Stored(_)]), "{outcomes:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        counts.iter().sum()
    });
    Publisher { goes_over, ends, task }
}

async fn migrated(old: &dyn Stores, new: &dyn Stores) -> Report {
    copy(old, new, &Options::default(), &|_, _, _| {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_go_over_to_a_cluster_one_by_one() {
    let old = World::new(&Keeper::Redis(Binary::default())).await;
    let new = World::new(&Keeper::Cluster(Binary::default())).await;
    let mut publishers: Vec<Publisher> =
        (0..PUBLISHERS).map(|number| publisher(number, Arc::clone(&old.store))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The first migration may take long, because all services continue.
    let first = migrated(&*old.store, &*new.store).await;
    for publisher in &mut publishers {
        let (paused, pauses) = oneshot::channel();
        let (goes_on, elsewhere) = oneshot::channel();
        publisher.goes_over.send((paused, elsewhere)).await.unwrap();
        pauses.await.unwrap();
        migrated(&*old.store, &*new.store).await;
        goes_on.send(Arc::clone(&new.store)).ok().unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let last = migrated(&*old.store, &*new.store).await;
    assert_eq!(last.stored, 0, "{last:?}");
    let mut published = 0;
    for publisher in publishers {
        publisher.ends.send(()).unwrap();
        published += publisher.task.await.unwrap();
    }
    let mut keys: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut request = ReadRequest::new(Filter::default(), 1_000);
    loop {
        let page = new.store.read(&request).await.unwrap();
        for stored in &page.events {
            let (key, n) = stored.event.id().rsplit_once('-').unwrap();
            keys.entry(key.to_owned()).or_default().push(n.parse().unwrap());
        }
        let Some(next) = page.next else { break };
        request.after = Some(next);
    }
    println!("{published} published, of which the first run took {}", first.stored);
    assert!(first.stored > 0);
    assert_eq!(keys.values().map(Vec::len).sum::<usize>(), published);
    for (key, numbers) in keys {
        assert!(numbers.iter().copied().eq(0..numbers.len()), "{key}: {numbers:?}");
    }
    assert_eq!(new.store.verify(None).await.unwrap().findings, []);
}
