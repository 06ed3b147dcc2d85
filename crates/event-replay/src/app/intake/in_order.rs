//! Waits for futures that start in a fixed order.

use std::{future::poll_fn, pin::Pin, task::Poll};

/// Polls the futures for the first time in their order, and waits for all. Returns their outputs in the same order.
pub(super) async fn in_order<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut open: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = open.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut all = Poll::Ready(());
        for (future, output) in open.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => all = Poll::Pending,
            }
        }
        all
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn all_begin_in_their_order_and_answer_in_it() {
        let begun = Mutex::new(vec![]);
        let futures = (0..100u64).map(|n| {
            let begun = &begun;
            async move {
                begun.lock().unwrap().push(n);
                for _ in 0..(n * 7 % 13) {
                    tokio::task::yield_now().await;
                }
                n
            }
        });
        assert_eq!(in_order(futures.collect()).await, Vec::from_iter(0..100));
        assert_eq!(*begun.lock().unwrap(), Vec::from_iter(0..100));
    }
}
