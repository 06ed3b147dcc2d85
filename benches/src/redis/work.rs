//! Processor time of client and server. Other programs on the machine do not affect it.

use std::time::Duration;

use anyhow::Result;
use servers::Server;

use super::{bare::Bare, info};
use crate::delivery::cpu;

/// The processor time of several rounds of the same work.
#[derive(Default)]
pub(super) struct Work {
    rounds: u32,
    client: Duration,
    server: Duration,
}

impl Work {
    pub(super) async fn of<T>(
        &mut self,
        server: &Server,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut bare = Bare::connect(server).await?;
        let (client, served) = (cpu()?, used(&mut bare).await?);
        let done = work.await?;
        self.client += cpu()?.saturating_sub(client);
        self.server += used(&mut bare).await?.saturating_sub(served);
        self.rounds += 1;
        Ok(done)
    }

    pub(super) fn each(&self, operations: u64) -> String {
        let each = |took: Duration| took.as_secs_f64() * 1e6 / (f64::from(self.rounds) * operations as f64);
        format!("client {:.1} µs, server {:.1} µs", each(self.client), each(self.server))
    }
}

/// Returns the processor time of a server since its start.
async fn used(bare: &mut Bare) -> Result<Duration> {
    let user = info(bare, "cpu", "used_cpu_user").await?;
    Ok(Duration::from_secs_f64(user + info(bare, "cpu", "used_cpu_sys").await?))
}
