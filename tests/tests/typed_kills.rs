//! A typed service in three processes, which are killed one after the other. Each order has exactly one payment in the
//! log. No order is lost, users keep their order, and only charges that were in flight at a kill repeat.
//!
//! `EVENT_REPLAY_ROUNDS` sets the number of kills, `EVENT_REPLAY_EVENTS` the number of orders, and `EVENT_REPLAY_SEED`
//! the random seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use domain::{
    Event, Filter,
    ports::{ReadRequest, Stores},
};
use fastrand::Rng;
use support::{
    consumers::{Keeper, Process, World, publish_events_over},
    effects::{Does, Planned, Verdict},
};

const PROCESSES: usize = 3;
const USERS: usize = 200;

/// The numbers of orders or payments, by user.
type Numbers = BTreeMap<String, Vec<u64>>;

struct Run {
    verdict: Verdict,
    orders: Numbers,
    payments: Numbers,
}

/// Returns the orders. The third order of user `u7` has the number 2.
fn orders(rng: &mut Rng, count: usize) -> Vec<Planned> {
    let mut numbers: BTreeMap<usize, usize> = BTreeMap::new();
    (0..count)
        .map(|_| {
            let user = rng.usize(..USERS);
            let number = numbers.entry(user).or_default();
            *number += 1;
            Planned { key: format!("u{user}"), n: *number - 1, does: Does::Works, takes_ms: rng.u64(0..30) }
        })
        .collect()
}

fn placed(order: &Planned) -> Event {
    let (id, user, number, takes) = (order.id(), &order.key, order.n, order.takes_ms);
    support::admitted(&format!(
        r#"{{"id":"{id}","type":"order.placed","version":"1.0","timestamp":"2026-01-01T00:00:00Z","source":"test","userId":"{user}","metadata":{{}},"data":{{"number":{number},"takes_ms":{takes}}}}}"#
    ))
}

/// Returns the numbers of the payments in the log, in log order.
async fn payments(store: &dyn Stores) -> Numbers {
    let mut request = ReadRequest::new(Filter::types(["payment.captured"]), 1_000);
    let mut payments = Numbers::new();
    loop {
        let page = store.read(&request).await.unwrap();
        for stored in page.events {
            let payment = stored.event.value().unwrap();
            let (user, number) = (&payment["userId"], &payment["data"]["number"]);
            payments.entry(user.as_str().unwrap().to_owned()).or_default().push(number.as_u64().unwrap());
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => return payments,
        }
    }
}

async fn processes_are_killed(keeper: &Keeper, count: usize, kills: usize, options: &[&str]) -> Run {
    let mut rng = Rng::with_seed(support::seed());
    let mut world = World::new(keeper).await.of_group("payments");
    let planned = orders(&mut rng, count);
    let start = |world: &mut World, name: Option<&str>| {
        world.start_program(env!("CARGO_BIN_EXE_test-service"), name, options)
    };
    let events = planned.iter().map(placed).collect();
    let publisher =
        publish_events_over(&world.store, events, Duration::from_millis(800) * kills as u32, rng.fork());
    let mut processes: Vec<Process> = (0..PROCESSES).map(|_| start(&mut world, None)).collect();
    world.until("the first charge", async |world| !world.effects().is_empty()).await;
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(rng.u64(100..1500))).await;
        let victim = processes.swap_remove(rng.usize(..processes.len()));
        if rng.bool() {
            // The worst moment for a kill: a card is charged, and the answer is not committed.
            world.next_effect_of(&victim);
        }
        // Some processes keep their consumer name after a restart, and others get a new name.
        let name = rng.bool().then(|| victim.name.clone());
        world.kill(victim);
        tokio::time::sleep(Duration::from_millis(rng.u64(..300))).await;
        processes.push(start(&mut world, name.as_deref()));
        for process in &mut processes {
            assert!(!process.has_ended(), "service {} ended by itself", process.number);
        }
    }
    publisher.await.unwrap();
    world.until("everything is settled", World::is_idle).await;
    for process in processes {
        world.stop(process);
    }
    let mut of_users = Numbers::new();
    for order in &planned {
        of_users.entry(order.key.clone()).or_default().push(order.n as u64);
    }
    let payments = payments(&*world.store).await;
    Run { verdict: world.check(&planned).await, orders: of_users, payments }
}

async fn each_order_has_one_payment(keeper: &Keeper) {
    let (count, kills) = (support::consumers::events(2_000), support::rounds(13));
    let Run { verdict, orders, payments } = processes_are_killed(keeper, count, kills, &[]).await;
    println!("{count} orders, {kills} kills: {} charges repeated", verdict.repeats);
    // No order was lost, users kept their order, no dead letter was made, and only charges in flight repeated.
    verdict.expect_none();
    assert_eq!(payments, orders, "each order has one payment, in the order of its user");
    assert!(kills < 13 || verdict.repeats > 0, "no kill met a charge in flight: the test proved nothing");
}

/// The control: with random ids, a repeated charge emits its payment twice, and the check finds it.
async fn the_check_sees_duplicates(keeper: &Keeper) {
    let Run { orders, payments, .. } = processes_are_killed(keeper, 1_000, 8, &["fault=random-ids"]).await;
    let count = |numbers: &Numbers| numbers.values().map(Vec::len).sum::<usize>();
    println!("{} payments of {} orders", count(&payments), count(&orders));
    assert!(count(&payments) > count(&orders), "a kill after an emission leaves a duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_has_one_payment_on_a_file() {
    each_order_has_one_payment(&Keeper::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_has_one_payment_on_servers() {
    for keeper in Keeper::servers() {
        each_order_has_one_payment(&keeper).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_sees_duplicates_on_a_file() {
    the_check_sees_duplicates(&Keeper::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_sees_duplicates_on_servers() {
    if !support::is_full_run() {
        println!("NOT RUN on servers: the_check_sees_duplicates; ./test --full does");
        return;
    }
    for keeper in Keeper::servers() {
        the_check_sees_duplicates(&keeper).await;
    }
}
