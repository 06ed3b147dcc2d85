//! Faults in a planned order, for tests that choose which call fails.

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

/// The fault of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineFault {
    /// No fault. Planning it skips one call, so that a later call can be chosen.
    None,
    /// The engine performs the call, and the caller gets an unknown outcome.
    AnswerLost,
    /// The engine does not perform the call, and the caller gets an unknown outcome.
    RequestLost,
    /// The call fails with this error, and the engine does not perform it.
    Fails(StorageFailure),
    /// The engine does not perform the call, and the caller gets no answer.
    Hangs,
    /// The call panics.
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

/// A hook with planned faults. Each fault occurs once, in the order of the plan, after the delay of the call.
#[derive(Default)]
pub struct FaultScript {
    /// Delay before each call. With a paused tokio clock, only such delays advance the time.
    takes: Duration,
    inner: Mutex<Inner>,
}

impl FaultScript {
    /// Creates a script without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a script without faults, with a delay for each call.
    pub fn taking(takes: Duration) -> Self {
        Self { takes, ..Self::default() }
    }

    /// Plans a fault for the next call that `concerns` accepts. Faults occur in the order of their plans.
    pub fn plan(
        &self,
        concerns: impl Fn(&EngineCall<'_>) -> bool + Send + Sync + 'static,
        fault: EngineFault,
    ) -> &Self {
        self.inner().planned.push(Planned { concerns: Box::new(concerns), fault });
        self
    }

    /// Plans faults for the next calls of a method, one after the other.
    pub fn plan_all(&self, name: &'static str, faults: impl IntoIterator<Item = EngineFault>) -> &Self {
        for fault in faults {
            self.plan(move |call| call.name() == name, fault);
        }
        self
    }

    /// Calls a function for each engine call, before its delay.
    pub fn observe(&self, observer: impl Fn(&EngineCall<'_>) + Send + Sync + 'static) -> &Self {
        self.inner().observers.push(Box::new(observer));
        self
    }

    /// Counts the accepted calls from now on.
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

    /// Sets whether every call fails from now on.
    pub fn is_away(&self, is_away: bool) {
        self.inner().is_away = is_away;
    }

    /// Sets whether a partition is reachable.
    pub fn reaches(&self, partition: u16, is_reached: bool) {
        let mut inner = self.inner();
        match is_reached {
            true => inner.out_of_reach.remove(&partition),
            false => inner.out_of_reach.insert(partition),
        };
    }

    /// Returns the method names of all calls so far, including failed calls.
    pub fn calls(&self) -> Vec<&'static str> {
        self.inner().calls.clone()
    }

    /// Returns the number of faults that have not occurred yet.
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

    /// Returns the fault that replaces a call.
    fn before(&mut self, call: &EngineCall<'_>) -> Option<EngineFault> {
        let is_cut_off = call.partition.is_some_and(|partition| self.out_of_reach.contains(&partition));
        if self.is_away || is_cut_off {
            let failure = StorageFailure::Unavailable("out of reach".to_owned());
            return Some(EngineFault::Fails(failure));
        }
        let at = self.next(call)?;
        let is_made = matches!(self.planned.get(at)?.fault, EngineFault::None | EngineFault::AnswerLost);
        // A fault that allows the call is removed in `after`.
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
