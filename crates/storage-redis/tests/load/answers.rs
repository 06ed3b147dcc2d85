//! Answers that are lost on their way: what becomes of the calls.

use std::time::Duration;

use domain::{
    StorageFailure,
    ports::{EventStore as _, StatSample, StatsStore as _},
};
use servers::{Direction, Proxy};
use store::Store;
use tokio::time::sleep;

/// A write that adds: done twice, it shows.
fn sample() -> [StatSample; 1] {
    [StatSample { minute: 1, name: "n".to_owned(), label: "l".to_owned(), count: 1, sum: 0 }]
}

async fn counted(store: &Store) -> u64 {
    store.stats(None).await.unwrap().iter().map(|sample| sample.count).sum()
}

/// Holds a store, which reaches its master through a proxy, to this: a write whose answer is lost is told and not sent again;
/// a read is repeated; what could not even be sent is sent when there is a server to take it.
pub(crate) async fn are_told(store: &Store, proxy: &Proxy) {
    store.add_stats(&sample()).await.unwrap();
    assert_eq!(counted(store).await, 1);

    assert!(proxy.connections() > 0, "the store goes another way");
    proxy.cut_after(Direction::ToClient, 0);
    let told = store.add_stats(&sample()).await.unwrap_err();
    assert!(matches!(told, StorageFailure::Unknown(_)), "{told}");
    assert_eq!(counted(store).await, 2, "it was done, once");

    proxy.cut_after(Direction::ToClient, 0);
    assert_eq!(counted(store).await, 2, "the first answer was lost");
    store.head().await.unwrap();

    // No server takes connections for a while.
    proxy.refuse().await.unwrap();
    proxy.cut();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move {
            // The connection that was cut may take the first with it.
            let first = store.add_stats(&sample()).await;
            let second = store.add_stats(&sample()).await;
            (first, second)
        }
    });
    sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished(), "it waits");
    proxy.accept().await.unwrap();
    let (first, second) = waiting.await.unwrap();
    second.unwrap();
    let done = match first {
        Ok(()) => 4,
        // The cut came before the request.
        Err(StorageFailure::Unknown(_)) => 3,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(counted(store).await, done);
    // That a second time shows.
    store.add_stats(&sample()).await.unwrap();
    assert_eq!(counted(store).await, done + 1);
}
