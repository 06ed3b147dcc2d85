//! Delivery: a replay into a group with an empty handler, and the network traffic of groups in several processes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bus::{Bus, StartAt};
use domain::{Filter, ports::Stores};
use replay::{Cancel, GroupReplayOptions, JobRunner, PlanRequest};
use servers::Server;
use store::Store;
use tokio::runtime::Runtime;

use super::{BATCH, append_all, bare::Bare, info, server, store, work::Work};
use crate::{
    delivery::{counting, manager, unpaced},
    measure::{Bench, Target, timed},
    sqlite::events,
};

const GROUPS: usize = 10;
const PROCESSES: usize = 4;

pub(super) fn run(bench: &mut Bench, runtime: &Runtime, count: u64) -> Result<()> {
    replaying(bench, runtime, count)?;
    sharing(bench, runtime)
}

fn replaying(bench: &mut Bench, runtime: &Runtime, count: u64) -> Result<()> {
    let name = "redis replay into a group, committed";
    if !bench.wants(name) {
        return Ok(());
    }
    let all = events(count)?;
    let (theirs, ours) = runtime.block_on(async { anyhow::Ok((server().await?, server().await?)) })?;
    let mut bare = runtime.block_on(Bare::connect(&theirs))?;
    let store = Arc::new(runtime.block_on(store(&ours))?);
    runtime.block_on(async {
        bare.add_all(&all, BATCH).await?;
        append_all(&store, &all).await
    })?;
    let (mut round, mut work) = (0, Work::default());
    bench.row(
        name,
        "XREADGROUP 500 and XACK",
        count,
        &Target::Ratio(0.35),
        || {
            round += 1;
            let group = format!("g{round}");
            timed(|| {
                let seen = runtime.block_on(bare.consume_all(&group))?;
                ensure!(seen == count, "{seen} of {count}");
                Ok(())
            })
        },
        || runtime.block_on(replay_all(&store, count, &mut work, &ours)),
    )?;
    bench.figures(&format!("{name}: processor time an event"), &work.each(count), "–", "–");
    Ok(())
}

/// Returns the time of a replay of the whole log into the only group, from its start to its end.
async fn replay_all(store: &Arc<Store>, count: u64, work: &mut Work, server: &Server) -> Result<Duration> {
    let stores: Arc<dyn Stores> = store.clone();
    let bus = Bus::builder(Arc::clone(&stores)).enable_validation(false).build().await?;
    let (mut consumer, counter) = counting(&bus, "g", 16, StartAt::Head).await?;
    consumer.settled().await;
    let manager = manager(&stores);
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await?;
    let options = unpaced(GroupReplayOptions::to_all_groups());
    let begun = Instant::now();
    let run = async {
        let replay = manager.start_group_replay(&plan, &options).await?;
        Ok(JobRunner::new(manager).run(&replay.id, &(), &Cancel::default()).await?)
    };
    let report = Box::pin(work.of(server, run)).await?;
    let took = begun.elapsed();
    ensure!(report.successful_replays == count, "not all was replayed: {report:?}");
    counter.reaches(count).await?;
    consumer.stop().await?;
    bus.close().await;
    Ok(took)
}

/// Measures the bytes that the server sends for each event and process, while groups in several processes consume live
/// events. Each process reads the log once for all its groups.
fn sharing(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    let name = "redis bytes sent an event and process, 10 groups in 4 processes";
    if !bench.wants(name) {
        return Ok(());
    }
    const COUNT: u64 = 20_000;
    let all = events(COUNT)?;
    let payload: u64 = all.iter().map(|event| event.size_bytes() as u64).sum();
    let sent = runtime.block_on(async {
        let server = server().await?;
        let mut bare = Bare::connect(&server).await?;
        let (mut buses, mut consumers) = (Vec::new(), Vec::new());
        for _ in 0..PROCESSES {
            // Each simulated process has its own connection and its own reader of the log.
            let stores: Arc<dyn Stores> = Arc::new(store(&server).await?);
            let bus = Bus::builder(stores).enable_validation(false).build().await?;
            for group in 0..GROUPS {
                let (mut consumer, counter) = counting(&bus, &format!("g{group}"), 4, StartAt::Head).await?;
                consumer.settled().await;
                consumers.push((consumer, counter));
            }
            buses.push(bus);
        }
        let before = info(&mut bare, "stats", "total_net_output_bytes").await?;
        append_all(&store(&server).await?, &all).await?;
        let wanted = COUNT * GROUPS as u64;
        let end = Instant::now() + Duration::from_secs(120);
        while consumers.iter().map(|(_, counter)| counter.seen()).sum::<u64>() < wanted {
            ensure!(Instant::now() < end, "the deliveries do not come");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let sent = info(&mut bare, "stats", "total_net_output_bytes").await? - before;
        for (consumer, _) in consumers {
            consumer.stop().await?;
        }
        for bus in buses {
            bus.close().await;
        }
        anyhow::Ok(sent)
    })?;
    let of = sent / payload as f64 / PROCESSES as f64;
    bench.figures(name, &format!("{of:.2} × payload (target ≤ 1.2)"), "–", "–");
    Ok(())
}
