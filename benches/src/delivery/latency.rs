//! The time from the call that publishes an event to its handler.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use domain::{Delivery, HandlerError};
use tokio::{runtime::Runtime, task::JoinSet, time};

use super::{Kind, bus_over};
use crate::measure::Bench;

const EVERY: Duration = Duration::from_millis(1);
const EVENTS: usize = 10_000;

pub(super) fn run(bench: &mut Bench, runtime: &Runtime, kind: Kind) -> Result<()> {
    let name = format!("delivery latency, {}, 1,000/s", kind.name());
    if !bench.wants(&name) {
        return Ok(());
    }
    let (mut handled, mut published) = runtime.block_on(measure(kind))?;
    bench.figures(&name, &quantiles(&mut handled), "the call that publishes", &quantiles(&mut published));
    Ok(())
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", at(0.5), at(0.99), at(1.0))
}

/// The time of publishing and the time of handling, for each event.
type Times = Arc<Mutex<Vec<(Option<Instant>, Option<Instant>)>>>;

async fn measure(kind: Kind) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let folder = tempfile::tempdir()?;
    let store = kind.store(folder.path()).await?;
    let bus = bus_over(&store).await?;
    let times: Times = Arc::new(Mutex::new(vec![(None, None); EVENTS]));
    let seen = Arc::clone(&times);
    let handler = bus::handler(move |delivery: &Delivery| {
        let now = Instant::now();
        let number = delivery.stored.event.id().parse::<usize>();
        let seen = Arc::clone(&seen);
        async move {
            seen.lock().unwrap_or_else(PoisonError::into_inner)[number?].1 = Some(now);
            Ok::<(), HandlerError>(())
        }
    });
    let mut consumer = bus.subscribe("g").on_everything(handler).start().await?;
    consumer.settled().await;
    let mut publishing = JoinSet::new();
    let mut ticks = time::interval(EVERY);
    for number in 0..EVENTS {
        ticks.tick().await;
        let (bus, times) = (bus.clone(), Arc::clone(&times));
        publishing.spawn(async move {
            let begun = Instant::now();
            times.lock().unwrap_or_else(PoisonError::into_inner)[number].0 = Some(begun);
            bus.publish(event(number).as_bytes()).await.map(|_| begun.elapsed())
        });
    }
    let published = publishing.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let all = || {
        let times = times.lock().unwrap_or_else(PoisonError::into_inner);
        times.iter().map(|(from, to)| Some(to.as_ref()?.duration_since(*from.as_ref()?))).collect()
    };
    let end = Instant::now() + Duration::from_secs(60);
    let handled: Vec<Duration> = loop {
        let handled: Option<Vec<Duration>> = all();
        if let Some(handled) = handled {
            break handled;
        }
        ensure!(Instant::now() < end, "not every event was handled");
        time::sleep(Duration::from_millis(50)).await;
    };
    consumer.stop().await?;
    bus.close().await;
    Ok((handled, published))
}

fn event(number: usize) -> String {
    let user = number % 500;
    format!(
        r#"{{"id":"{number}","type":"payment.processed","version":"1.0","timestamp":"2024-01-15T10:30:00Z","source":"bench","userId":"user-{user}","metadata":{{}},"data":{{"amount":{number}}}}}"#
    )
}
