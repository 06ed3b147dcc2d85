//! Faults in a planned order, for tests that know which call is to fail.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::StorageFailure;

use super::{EngineCall, EngineHook};

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineFault {
    /// Nothing: it is made and answered. So later calls can be named.
    None,
    /// It is made, and the answer is lost.
    AnswerLost,
    /// It never arrives, and nothing is known of it.
    RequestLost,
    /// It fails with this, and is not made.
    Fails(StorageFailure),
    /// It never arrives, and no answer comes.
    Hangs,
    /// The engine has a bug.
    Panics,
}

type Concerns = Box<dyn Fn(&EngineCall<'_>) -> bool + Send + Sync>;
type Observer = Box<dyn Fn(&EngineCall<'_>) + Send + Sync>;

struct Planned {
    concerns: Concerns,
    fault: EngineFault,
}

#[derive(Default)]
struct Inner {
    planned: Vec<Planned>,
    out_of_reach: BTreeSet<u16>,
    is_away: bool,
    calls: Vec<&'static str>,
    observers: Vec<Observer>,
}

/// A hook whose faults come in the order in which they were planned, each once. Each call takes some time first.
#[derive(Default)]
pub struct FaultScript {
    /// How long each call takes before it is made. Stores take their time: with a paused clock nothing else moves it.
    takes: Duration,
    inner: Mutex<Inner>,
}

impl FaultScript {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No faults yet; each call takes this long.
    pub fn taking(takes: Duration) -> Self {
        Self { takes, ..Self::default() }
    }

    /// Plans a fault for the next call that is concerned. Faults come in the order in which they were planned.
    pub fn plan(
        &self,
        concerns: impl Fn(&EngineCall<'_>) -> bool + Send + Sync + 'static,
        fault: EngineFault,
    ) -> &Self {
        self.inner().planned.push(Planned { concerns: Box::new(concerns), fault });
        self
    }

    /// Plans what becomes of the next calls of a name, one after the other.
    pub fn plan_all(&self, name: &'static str, faults: impl IntoIterator<Item = EngineFault>) -> &Self {
        for fault in faults {
            self.plan(move |call| call.name() == name, fault);
        }
        self
    }

    /// Shows each call to a function as it arrives, before it takes its time.
    pub fn observe(&self, observer: impl Fn(&EngineCall<'_>) + Send + Sync + 'static) -> &Self {
        self.inner().observers.push(Box::new(observer));
        self
    }

    /// Counts the calls that are concerned from now on.
    pub fn count(
        &self,
        concerns: impl Fn(&EngineCall<'_>) -> bool + Send + Sync + 'static,
    ) -> Arc<AtomicUsize> {
        let count = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&count);
        self.observe(move |call| {
            counted.fetch_add(usize::from(concerns(call)), Ordering::SeqCst);
        });
        count
    }

    /// Whether every call fails from now on.
    pub fn is_away(&self, is_away: bool) {
        self.inner().is_away = is_away;
    }

    /// Puts a partition out of reach, or within it again.
    pub fn reaches(&self, partition: u16, is_reached: bool) {
        let mut inner = self.inner();
        match is_reached {
            true => inner.out_of_reach.remove(&partition),
            false => inner.out_of_reach.insert(partition),
        };
    }

    /// The names of the calls so far, failed calls included.
    pub fn calls(&self) -> Vec<&'static str> {
        self.inner().calls.clone()
    }

    /// How many faults are still to come.
    pub fn left(&self) -> usize {
        self.inner().planned.len()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn next(&self, call: &EngineCall<'_>) -> Option<usize> {
        self.planned.iter().position(|planned| (planned.concerns)(call))
    }

    fn arrives(&mut self, call: &EngineCall<'_>) {
        self.calls.push(call.name());
        self.observers.iter().for_each(|observer| observer(call));
    }

    /// What fails instead of a call.
    fn before(&mut self, call: &EngineCall<'_>) -> Option<EngineFault> {
        let is_cut_off = call.partition.is_some_and(|partition| self.out_of_reach.contains(&partition));
        if self.is_away || is_cut_off {
            let failure = StorageFailure::Unavailable("out of reach".to_owned());
            return Some(EngineFault::Fails(failure));
        }
        let at = self.next(call)?;
        let is_made = matches!(self.planned.get(at)?.fault, EngineFault::None | EngineFault::AnswerLost);
        // What lets the call be made is taken after it.
        (!is_made).then(|| self.planned.remove(at).fault)
    }

    fn after(&mut self, call: &EngineCall<'_>) -> Option<EngineFault> {
        let at = self.next(call)?;
        let is_made = matches!(self.planned.get(at)?.fault, EngineFault::None | EngineFault::AnswerLost);
        is_made.then(|| self.planned.remove(at).fault)
    }
}

fn unknown() -> StorageFailure {
    StorageFailure::Unknown("the connection was cut".to_owned())
}

#[async_trait]
impl EngineHook for FaultScript {
    async fn before(&self, call: &EngineCall<'_>) -> Result<(), StorageFailure> {
        self.inner().arrives(call);
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        let fault = self.inner().before(call);
        match fault {
            Some(EngineFault::Fails(failure)) => Err(failure),
            Some(EngineFault::RequestLost) => Err(unknown()),
            Some(EngineFault::Hangs) => std::future::pending().await,
            Some(EngineFault::Panics) => panic!("a bug of the engine"),
            Some(EngineFault::None | EngineFault::AnswerLost) | None => Ok(()),
        }
    }

    async fn after(&self, call: &EngineCall<'_>) -> Result<(), StorageFailure> {
        match self.inner().after(call) {
            Some(EngineFault::AnswerLost) => Err(unknown()),
            _ => Ok(()),
        }
    }
}
