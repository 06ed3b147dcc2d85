//! `histogram`: the number of events over time; on a file and on Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, paid, registered};
use serde_json::json;

fn benches() -> Vec<Bench> {
    [Some(Bench::new()), Bench::on_redis()].into_iter().flatten().collect()
}

/// Three events in one hour, two in the hour after the next one; the last of them belongs to the next day.
fn publish(bench: &Bench) {
    let events = [
        registered("e1", "u1", "2024-01-15T21:00:00Z"),
        paid("e2", "u1", "5"),
        registered("e3", "u2", "2024-01-15T21:59:59.999Z"),
        registered("e4", "u2", "2024-01-15T23:59:59Z"),
        registered("e5", "u2", "2024-01-16T00:00:00Z"),
    ];
    bench
        .pipe(
            &["publish"],
            events.join("\n").replace("2024-01-20T08:00:00Z\",\"source", "2024-01-15T21:30:00Z\",\"source"),
        )
        .ok();
}

#[test]
fn events_are_counted_in_intervals_by_their_timestamps() {
    for bench in benches() {
        publish(&bench);
        let events = bench.json(&["list", "--limit", "10"]);
        let hour = bench.json(&["histogram", "--interval", "1h"]);
        let expected = json!([
            {"start": "2024-01-15T21:00:00Z", "events": 3},
            {"start": "2024-01-15T23:00:00Z", "events": 1},
            {"start": "2024-01-16T00:00:00Z", "events": 1},
        ]);
        assert_eq!(hour["intervals"], expected, "{events}");
        assert_eq!(
            (&hour["events"], &hour["intervalSeconds"], &hour["corrupt"]),
            (&json!(5), &json!(3600), &json!(0))
        );
        let day = bench.json(&["histogram", "--interval", "1d", "--by", "type"]);
        let expected = json!([
            {"start": "2024-01-15T00:00:00Z", "events": 4, "by": {"payment.processed": 1, "user.registered": 3}},
            {"start": "2024-01-16T00:00:00Z", "events": 1, "by": {"user.registered": 1}},
        ]);
        assert_eq!((&day["intervals"], &day["by"]), (&expected, &json!("type")));
        let of_user = bench.json(&["histogram", "--interval", "1d", "--user-id", "u1", "--by", "source"]);
        assert_eq!(of_user["events"], 2);
    }
}

#[test]
fn a_histogram_has_bars_for_people_and_bounds() {
    let bench = Bench::new();
    bench.run(&["init"]).ok();
    bench.run(&["histogram"]).ok().says("no event matches");
    publish(&bench);
    let shown = bench.run(&["histogram", "--interval", "1h"]).ok();
    shown.prints(&format!("2024-01-15T21:00:00Z       3  {}", "█".repeat(40)));
    bench.run(&["histogram", "--interval", "10ms"]).exits(2).says("a whole number of seconds");
    bench.run(&["histogram", "--interval", "soon"]).exits(2).says("a number with a unit");
    let many: Vec<String> = (0..1_001)
        .map(|n| {
            registered(
                &format!("m{n}"),
                "u",
                &format!("2023-01-01T{:02}:{:02}:{:02}Z", n / 3600, n / 60 % 60, n % 60),
            )
        })
        .collect();
    bench.pipe(&["publish"], many.join("\n")).ok();
    bench.run(&["histogram", "--interval", "1s"]).exits(2).says("more than 1000 intervals have events");
    assert_eq!(bench.json(&["histogram", "--interval", "1d"])["events"], 1_006);
}
