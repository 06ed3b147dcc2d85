//! The outcome of calls with lost answers.

use std::time::Duration;

use domain::{
    StorageFailure,
    ports::{EventStore as _, StatSample, StatsStore as _},
};
use servers::{Direction, Proxy};
use store::Store;
use tokio::time::sleep;

/// A write that adds, so that a duplicate is visible.
fn sample() -> [StatSample; 1] {
    [StatSample { minute: 1, name: "n".to_owned(), label: "l".to_owned(), count: 1, sum: 0 }]
}

async fn counted(store: &Store) -> u64 {
    store.stats(None).await.unwrap().iter().map(|sample| sample.count).sum()
}

/// Checks a store that reaches its master through a proxy. A write with a lost answer fails and is not sent again. A
/// read is repeated. A call that could not be sent is sent as soon as a server accepts it.
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

    // No server accepts connections for a while.
    proxy.refuse().await.unwrap();
    proxy.cut();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move {
            // The cut connection may lose the first call.
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
        // The connection was cut before the request.
        Err(StorageFailure::Unknown(_)) => 3,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(counted(store).await, done);
    // A duplicate is visible.
    store.add_stats(&sample()).await.unwrap();
    assert_eq!(counted(store).await, done + 1);
}
