//! Sharing appends: what is published at once by many callers goes to the store together.
//!
//! # Constraints
//! One caller alone waits for nothing but the store. Many callers pay for few appends. Events go into the log in the order in
//! which they were published. No caller can harm another: not by being dropped, nor by no longer being polled, nor by an
//! event that is refused.
//!
//! # Design
//! Callers queue. A caller that finds no task appending starts one that appends whatever is queued, again and again, and ends
//! when nothing is. So the first event is appended at once, and those that come meanwhile go together next. The append is a
//! task's and not the first caller's, for a caller may be dropped, or polled no more, while others wait for it.
//!
//! Where one partition of the store fails and others do not, the events that fall to it are set aside and tried again by
//! a second task, and so are later ones of their ordering keys: they wait, and keep their order, and the others do not wait
//! for them.

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

/// Events of one shared append.
const MAX_EVENTS: usize = 1000;
/// Bytes of events of one shared append; one event may have more.
const MAX_BYTES: usize = 1024 * 1024;

/// Appends events of many callers together.
#[derive(Debug)]
pub(crate) struct Batcher {
    shared: Arc<Shared>,
    /// The task that appends, if one does, and those that have ended since the last one began. Dropped with the batcher:
    /// by then every caller has gone, and no answer is awaited.
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
    /// The ordering keys of those that wait, and of those that are being tried, each as often as there are events of it.
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
    /// Of the tries so far.
    doubt: Doubt,
}

impl Batcher {
    pub(crate) fn new(appender: Arc<Appender>) -> Self {
        Self { shared: Arc::new(Shared { appender, queue: Mutex::default() }), tasks: Mutex::default() }
    }

    /// Appends an event. Where the call is dropped before its event is with the store, it is not appended; after that it may
    /// be, as with any append.
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
    /// Queues an event; whether its caller is to see to it that the queue is served.
    fn enqueue(&self, waiting: Waiting) -> bool {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back(waiting);
        !std::mem::replace(&mut queue.is_served, true)
    }

    /// Sets events aside; whether its caller is to see to it that they are tried again.
    fn set_aside(&self, events: Vec<Waiting>) -> bool {
        if events.is_empty() {
            return false;
        }
        let aside = &mut lock(&self.queue).aside;
        events.into_iter().for_each(|waiting| aside.put(waiting));
        !std::mem::replace(&mut aside.is_served, true)
    }
}

/// The right to serve the queue. However it ends, the queue is not left waiting for it.
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
                    // A caller that was dropped meanwhile wants no answer.
                    (_, answer) => drop(caller.send(answer)),
                }
            }
            if self.shared.set_aside(aside) {
                again.spawn(Again { shared: Arc::clone(&self.shared), is_done: false }.run());
            }
        }
        while again.join_next().await.is_some() {}
    }

    /// The next batch. When nothing is queued the service is done, in the same step: the next caller starts another.
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
    /// Where the task ended early, with its runtime or by a panic in the store, those who wait are told so.
    fn drop(&mut self) {
        if !self.is_done {
            let mut queue = lock(&self.shared.queue);
            queue.is_served = false;
            queue.waiting.clear();
        }
    }
}

/// The right to try again what was set aside.
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

    /// All that is aside now. When nothing is, this is done, in the same step.
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
    /// As with [`Service`].
    fn drop(&mut self) {
        if !self.is_done {
            lock(&self.shared.queue).aside = Aside::default();
        }
    }
}

/// No step panics half-way, so a poisoned lock still guards a whole queue.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
