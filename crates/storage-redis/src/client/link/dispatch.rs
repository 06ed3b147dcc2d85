//! Sends a call to the right server, with repeats and redirects until the deadline.

use std::{sync::Arc, time::Duration};

use domain::{Backoff, Jitter, StorageFailure};
use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, sleep};

use super::{Link, Topology, without_errors};
use crate::{
    client::{
        call::{Call, CallError, Time},
        cluster::Cluster,
        failure::Intent,
        node::{Node, Traffic},
        sentinel::Sentinels,
        slot,
    },
    index::term_lookup::SLOT_ON_ITS_WAY,
};

/// The pauses between two tries of a call, before jitter is added.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(100));
/// How many redirects are followed without a pause. Nodes that disagree could redirect a call to each other forever.
const SENT_ON: u32 = 5;
/// The part of its time that a write keeps for the answer, as a divisor.
const FOR_ANSWER: u32 = 10;

impl Link {
    /// Sends a call to the server of its slot, with repeats until the deadline.
    pub(super) async fn dispatch(
        &self,
        call: Call<'_>,
        intent: Intent,
    ) -> Result<Vec<Value>, StorageFailure> {
        debug_assert!(call.is_of_one_slot(), "a call names keys of several slots");
        let slot = call.slot().unwrap_or(self.home);
        let (deadline, full_timeout) = self.unreachable_slots.deadline(slot, self.timeout);
        let mut tries = DeadlineRetry::new(deadline, intent);
        loop {
            let tried = match &self.topology {
                Topology::Cluster(cluster) => self.in_cluster(cluster, slot, call, intent, tries.time).await,
                Topology::Sentinel(sentinels) => at_master(sentinels, call, intent, tries.time).await,
                Topology::Server(node) => call.send(node, false, intent, tries.time).await,
            };
            match tried {
                Ok(values) => {
                    self.unreachable_slots.reached(slot);
                    return Ok(values);
                }
                Err(trouble) => {
                    self.disturb();
                    if let CallError::Settled(failure) = trouble {
                        return Err(failure);
                    }
                    // A slot that is migrating is reachable.
                    let is_out_of_reach = matches!(trouble, CallError::Elsewhere(_));
                    if let Err(failure) = tries.again(trouble).await {
                        if full_timeout && is_out_of_reach {
                            self.unreachable_slots.give_up(slot);
                        }
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Tries the node that serves a slot, then the node to which the slot is migrating.
    async fn in_cluster(
        &self,
        cluster: &Cluster,
        slot: u16,
        call: Call<'_>,
        intent: Intent,
        time: Time,
    ) -> Result<Vec<Value>, CallError> {
        let node = cluster.node(slot, time.deadline).await.map_err(CallError::unfound)?;
        let answer = match call {
            Call::All(commands, traffic) => {
                self.all_in_cluster(cluster, &node, commands, traffic, time).await
            }
            _ => match call.send(&node, false, intent, time).await {
                Err(CallError::Ask(address, _)) => {
                    let other = cluster.at(&address, &node).map_err(CallError::Settled)?;
                    call.send(&other, true, intent, time).await.map_err(CallError::on_the_way)
                }
                answer => answer,
            },
        };
        match &answer {
            Err(CallError::Moved(address, _)) => {
                cluster.learn(slot, address, &node).map_err(CallError::Settled)?;
            }
            Err(CallError::Elsewhere(_) | CallError::Settled(StorageFailure::Unknown(_))) => {
                cluster.doubt(slot, &node);
            }
            _ => {}
        }
        answer
    }

    /// Reads from a slot that may be migrating. Commands for keys that have left the node go to the other node.
    ///
    /// The answers must be as if one node had given them one after another. If some come from each node, the reads are
    /// repeated until two rounds give the same answers.
    async fn all_in_cluster(
        &self,
        cluster: &Cluster,
        node: &Arc<Node>,
        commands: &Pipeline,
        traffic: Traffic,
        time: Time,
    ) -> Result<Vec<Value>, CallError> {
        let mut before = None;
        loop {
            let mut values = Call::All(commands, traffic).send(node, false, Intent::Read, time).await?;
            let (mut gone, mut to) = (Vec::new(), None);
            for ((at, value), command) in values.iter().enumerate().zip(commands.cmd_iter()) {
                let Value::ServerError(error) = value else { continue };
                match CallError::of(&error.clone().into(), Intent::Read).with(command) {
                    CallError::Ask(address, _) => {
                        gone.push(at);
                        to = Some(address);
                    }
                    trouble => return Err(trouble),
                }
            }
            let Some(to) = to else { return Ok(values) };
            self.disturb();
            let other = cluster.at(&to, node).map_err(CallError::Settled)?;
            let mut asked = Pipeline::with_capacity(gone.len());
            for (at, command) in commands.cmd_iter().enumerate() {
                if gone.binary_search(&at).is_ok() {
                    asked.add_command(command.clone());
                }
            }
            let found = Call::All(&asked, traffic).send(&other, true, Intent::Read, time).await;
            for (at, value) in gone.iter().zip(found.map_err(CallError::on_the_way)?) {
                let value = value
                    .extract_error()
                    .map_err(|error| CallError::of(&error, Intent::Read).on_the_way())?;
                if let Some(place) = values.get_mut(*at) {
                    *place = value;
                }
            }
            if gone.len() == commands.len() || before.as_ref() == Some(&values) {
                return Ok(values);
            }
            before = Some(values);
        }
    }
}

/// Tries the master that the sentinels name.
async fn at_master(
    sentinels: &Arc<Sentinels>,
    call: Call<'_>,
    intent: Intent,
    time: Time,
) -> Result<Vec<Value>, CallError> {
    let node = sentinels.node(time.deadline).await.map_err(CallError::unfound)?;
    let sent = call.send(&node, false, intent, time).await;
    let answer =
        sent.and_then(|values| without_errors(values).map_err(|error| CallError::of(&error, intent)));
    // A write that may have been done is not repeated. Its server is nevertheless in doubt.
    if let Err(CallError::Elsewhere(_) | CallError::Settled(StorageFailure::Unknown(_))) = &answer {
        sentinels.doubt(&node);
    }
    answer
}

impl CallError {
    /// Classifies the failure to find the right server.
    fn unfound(failure: StorageFailure) -> Self {
        match failure {
            StorageFailure::Unavailable(_) | StorageFailure::Busy { .. } => Self::Elsewhere(failure),
            _ => Self::Settled(failure),
        }
    }

    /// Classifies the error of one command of a pipeline. A look-up by a function fails until the slot has arrived.
    /// Its caller need not wait for that, since it has another way.
    fn with(self, command: &Cmd) -> Self {
        match self {
            Self::Ask(..) | Self::Wait(_) if slot::is_look_up(command) => {
                Self::Settled(StorageFailure::Unavailable(SLOT_ON_ITS_WAY.to_owned()))
            }
            other => other,
        }
    }

    /// Classifies an error of the node to which a slot is migrating. That node may have changed, and only the node
    /// that had the slot knows it. So the call waits and asks that node again.
    fn on_the_way(self) -> Self {
        match self {
            Self::Settled(_) => self,
            other => Self::Wait(other.failure()),
        }
    }
}

/// The tries of a call.
struct DeadlineRetry {
    time: Time,
    /// The part of the time that is kept for the answer, in every try after the first.
    for_answer: Duration,
    /// The number of pauses so far.
    pauses: u32,
    sent_on: u32,
    /// The failure of the try before this one.
    before: Option<StorageFailure>,
}

impl DeadlineRetry {
    /// The first try has all the time. A later try of a write does not start if too little time is left for an answer.
    /// Otherwise the outcome of a write that was certainly not done would become unknown.
    fn new(deadline: Instant, intent: Intent) -> Self {
        let for_answer = match intent {
            Intent::Read => Duration::ZERO,
            Intent::Write => (deadline - Instant::now()) / FOR_ANSWER,
        };
        Self { time: Time { sent_by: deadline, deadline }, for_answer, pauses: 0, sent_on: 0, before: None }
    }

    /// Waits until it is time for another try.
    ///
    /// # Errors
    /// Returns the failure of the last try when no time is left for another.
    async fn again(&mut self, trouble: CallError) -> Result<(), StorageFailure> {
        self.time.sent_by = self.time.deadline - self.for_answer;
        let is_moved = matches!(trouble, CallError::Moved(..));
        let failure = trouble.failure();
        if is_moved && self.sent_on < SENT_ON {
            self.sent_on += 1;
            self.before = Some(failure);
            return Ok(());
        }
        self.pauses = self.pauses.saturating_add(1);
        let pause = PAUSES.pause(self.pauses, Jitter::Added, fastrand::f64());
        let now = Instant::now();
        if now + pause >= self.time.sent_by {
            // If the deadline cut this try off, the failure of the try before it says more.
            return Err(self.before.take().filter(|_| now >= self.time.sent_by).unwrap_or(failure));
        }
        self.before = Some(failure);
        sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        task::{JoinHandle, JoinSet},
    };

    use super::*;
    use crate::options::RedisOptions;

    /// How long the node below takes to refuse a call.
    const REFUSED_AFTER: Duration = Duration::from_millis(100);

    /// The only node of a cluster that is down. It refuses every call after a delay.
    async fn refusing_node() -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let node = tokio::spawn(async move {
            let mut callers = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                callers.spawn(refuse(stream, port));
            }
        });
        (port, node)
    }

    async fn refuse(mut stream: TcpStream, port: u16) {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            let asked = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let answer = if asked.contains("SLOTS") {
                format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
            } else if asked.contains("FCALL") {
                sleep(REFUSED_AFTER).await;
                "-CLUSTERDOWN The cluster is down\r\n".to_owned()
            } else {
                // The commands by which a client introduces itself, one or two at once.
                "+OK\r\n".repeat(asked.matches('*').count())
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                break;
            }
        }
    }

    /// A try that starts too late for its answer would make the outcome unknown, of a write that was certainly not
    /// done.
    #[tokio::test]
    async fn a_write_that_was_refused_to_the_end_was_not_done() {
        let (port, node) = refusing_node().await;
        let mut callers = JoinSet::new();
        for at in 0..16 {
            let timeout = Duration::from_millis(5000 + 10 * at);
            let options =
                RedisOptions { timeout, ..RedisOptions::new(format!("redis+cluster://127.0.0.1:{port}")) };
            let link = Link::new(&options, "{a}").unwrap();
            callers.spawn(async move { link.call("append", &["{a}1".to_owned()], &["1"]).await });
        }
        for answer in callers.join_all().await {
            let failure = answer.unwrap_err();
            assert!(matches!(failure, StorageFailure::Unavailable(_)), "{failure}");
        }
        node.abort();
    }
}
