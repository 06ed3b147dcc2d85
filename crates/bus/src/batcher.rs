//! Combines concurrent appends: events that many callers publish at the same time go to the store in one batch.
//!
//! # Constraints
//! A single caller waits only for the store. Many callers share few appends. Events go into the log in the order of
//! their publication. No caller can harm another caller: not by a dropped call, not by a call that is no longer polled,
//! and not by a refused event.
//!
//! # Design
//! Callers put events into a queue. If no task appends, a caller starts one. The task appends batches from the queue
//! until the queue is empty, and then ends. So the first event is appended immediately, and the events that arrive
//! meanwhile form the next batch. A task makes the append, not the first caller. That caller may be dropped or no
//! longer polled while others wait for the append.
//!
//! If one partition of the store fails and others work, the events of the failed partition are set aside. A second task
//! retries these events. Later events with the same ordering keys are also set aside, so they keep their order. Other
//! events do not wait for them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{Event, StorageFailure, group::Key};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    append::{AppendResult, Appender},
    doubt::Doubt,
};

/// The highest number of events in one shared append.
const MAX_EVENTS: usize = 1000;
/// The highest number of event bytes in one shared append. A single event may have more.
const MAX_BYTES: usize = 1024 * 1024;

/// Combines the events of many callers into shared appends.
#[derive(Debug)]
pub(crate) struct Batcher {
    shared: Arc<Shared>,
    /// The appending task, if one runs, and the tasks that ended since it began. They are dropped with the batcher. By
    /// then no caller waits for an answer.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    appender: Arc<Appender>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether a task appends.
    is_served: bool,
    aside: Aside,
}

/// Events whose partition failed, in their order.
#[derive(Debug, Default)]
struct Aside {
    waiting: VecDeque<Waiting>,
    /// The ordering keys of the events that wait or are being retried, with the number of events of each key.
    keys: HashMap<Key, usize>,
    is_served: bool,
}

impl Aside {
    fn put(&mut self, waiting: Waiting) {
        *self.keys.entry(Key::from(waiting.event.ordering_key())).or_default() += 1;
        self.waiting.push_back(waiting);
    }

    fn is_before(&self, event: &Event) -> bool {
        !self.keys.is_empty() && self.keys.contains_key(&Key::from(event.ordering_key()))
    }

    fn is_done(&mut self, event: &Event) {
        let key = Key::from(event.ordering_key());
        if let Some(count) = self.keys.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(&key);
            }
        }
    }
}

#[derive(Debug)]
struct Waiting {
    event: Event,
    answer: oneshot::Sender<AppendResult>,
    /// The doubt of the tries so far.
    doubt: Doubt,
}

impl Batcher {
    pub(crate) fn new(appender: Arc<Appender>) -> Self {
        Self { shared: Arc::new(Shared { appender, queue: Mutex::default() }), tasks: Mutex::default() }
    }

    /// Appends an event. If the call is dropped before its event goes to the store, the event is not appended. If the
    /// call is dropped later, the event may be appended, as with any append.
    pub(crate) async fn append(&self, event: Event) -> AppendResult {
        let (answer, answered) = oneshot::channel();
        if self.shared.enqueue(Waiting { event, answer, doubt: Doubt::default() }) {
            self.serve();
        }
        answered.await.unwrap_or_else(|_| {
            let detail = "the task that appended it ended before it had an answer";
            Err(StorageFailure::Unknown(detail.to_owned()).into())
        })
    }

    fn serve(&self) {
        let service = Service { shared: Arc::clone(&self.shared), is_done: false };
        let mut tasks = lock(&self.tasks);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a task that appended events ended early");
            }
        }
        tasks.spawn(service.run());
    }
}

impl Shared {
    /// Puts an event into the queue. Returns whether the caller must start a task that serves the queue.
    fn enqueue(&self, waiting: Waiting) -> bool {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back(waiting);
        !std::mem::replace(&mut queue.is_served, true)
    }

    /// Sets events aside. Returns whether the caller must start a task that retries the events.
    fn set_aside(&self, events: Vec<Waiting>) -> bool {
        if events.is_empty() {
            return false;
        }
        let aside = &mut lock(&self.queue).aside;
        events.into_iter().for_each(|waiting| aside.put(waiting));
        !std::mem::replace(&mut aside.is_served, true)
    }
}

/// The right to serve the queue. However the service ends, the queue does not wait for it forever.
struct Service {
    shared: Arc<Shared>,
    is_done: bool,
}

impl Service {
    async fn run(mut self) {
        let mut again = JoinSet::new();
        while let Some((events, callers)) = self.next() {
            let parted = self.shared.appender.each_part(&events).await;
            let mut failed = parted.again.into_iter().peekable();
            let mut aside = Vec::new();
            for (at, ((event, caller), answer)) in
                events.into_iter().zip(callers).zip(parted.answers).enumerate()
            {
                match (failed.next_if_eq(&at), answer) {
                    (Some(_), Err(error)) => {
                        aside.push(Waiting { event, answer: caller, doubt: Doubt::of(&error) });
                    }
                    // The caller may have been dropped meanwhile. Then the answer is dropped too.
                    (_, answer) => drop(caller.send(answer)),
                }
            }
            if self.shared.set_aside(aside) {
                again.spawn(Again { shared: Arc::clone(&self.shared), is_done: false }.run());
            }
        }
        while again.join_next().await.is_some() {}
    }

    /// Returns the next batch. If the queue is empty, the service ends in the same step. The next caller starts another
    /// service.
    fn next(&mut self) -> Option<(Vec<Event>, Vec<oneshot::Sender<AppendResult>>)> {
        let mut queue = lock(&self.shared.queue);
        let (mut events, mut callers, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(waiting) = queue.waiting.pop_front() {
            if waiting.answer.is_closed() {
                continue;
            }
            if queue.aside.is_before(&waiting.event) {
                queue.aside.put(waiting);
                continue;
            }
            let size = waiting.event.size_bytes();
            if events.len() >= MAX_EVENTS || (!events.is_empty() && bytes + size > MAX_BYTES) {
                queue.waiting.push_front(waiting);
                break;
            }
            bytes += size;
            events.push(waiting.event);
            callers.push(waiting.answer);
        }
        if events.is_empty() {
            queue.is_served = false;
            self.is_done = true;
            return None;
        }
        Some((events, callers))
    }
}

impl Drop for Service {
    /// If the task ended early, by its runtime or by a panic in the store, releases the waiting callers with an error.
    fn drop(&mut self) {
        if !self.is_done {
            let mut queue = lock(&self.shared.queue);
            queue.is_served = false;
            queue.waiting.clear();
        }
    }
}

/// The right to retry the events that were set aside.
struct Again {
    shared: Arc<Shared>,
    is_done: bool,
}

impl Again {
    async fn run(mut self) {
        while let Some(tried) = self.next() {
            let (events, callers): (Vec<Event>, Vec<_>) =
                tried.into_iter().map(|waiting| (waiting.event, (waiting.answer, waiting.doubt))).unzip();
            let answers = self.shared.appender.each(&events).await;
            let mut queue = lock(&self.shared.queue);
            for ((event, (caller, doubt)), answer) in events.iter().zip(callers).zip(answers) {
                queue.aside.is_done(event);
                let _ = caller.send(answer.map_err(|error| doubt.or_error(error)));
            }
        }
    }

    /// Returns all events that are set aside. If there are none, this task ends in the same step.
    fn next(&mut self) -> Option<VecDeque<Waiting>> {
        let aside = &mut lock(&self.shared.queue).aside;
        let waiting = std::mem::take(&mut aside.waiting);
        if waiting.is_empty() {
            aside.is_served = false;
            self.is_done = true;
            return None;
        }
        Some(waiting)
    }
}

impl Drop for Again {
    /// Releases the waiting callers with an error, as [`Service`] does.
    fn drop(&mut self) {
        if !self.is_done {
            lock(&self.shared.queue).aside = Aside::default();
        }
    }
}

/// No critical section panics halfway, so a poisoned lock still guards a consistent queue.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
