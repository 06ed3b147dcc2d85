//! Damaged files. Commands use the readable events, name the damaged ones, and do not crash.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Bench, registered};

fn bench() -> Bench {
    let events: Vec<String> = (0..500)
        .map(|n| registered(&format!("e{n}"), &format!("user-{}", n % 7), "2024-01-15T10:30:00Z"))
        .collect();
    Bench::with(&events.join("\n"))
}

/// Flips one bit of an event's text in the file.
fn flip(bench: &Bench, marker: &str) {
    let mut file = std::fs::read(bench.path("events.db")).unwrap();
    let places: Vec<usize> = file
        .windows(marker.len())
        .enumerate()
        .filter(|(_, at)| *at == marker.as_bytes())
        .map(|(n, _)| n)
        .collect();
    let [place] = places.as_slice() else { panic!("{marker} occurs {} times", places.len()) };
    file[place + marker.len() - 2] ^= 1;
    bench.file("events.db", file);
}

#[test]
fn a_flipped_bit_costs_one_event_and_is_said_wherever_it_is_met() {
    let bench = bench();
    flip(&bench, r#""id":"e250""#);
    let before = std::fs::read(bench.path("events.db")).unwrap();
    for args in [
        &["export"][..],
        &["export", "--with-meta"],
        &["list", "--limit", "1000", "--output", "ndjson"],
        &["tail", "--lines", "1000", "--output", "ndjson"],
    ] {
        let said = bench.run(args).exits(3).says("the event at 0:251 is damaged and left out");
        assert_eq!(said.stdout.lines().count(), 499, "{args:?}");
        assert!(said.stderr.contains("`event-replay verify`"), "{said:?}");
    }
    // A page without the damaged event causes no warning.
    bench.run(&["list", "--limit", "20"]).ok();
    bench.run(&["verify"]).exits(3).prints("checked 500 events").prints("1 finding").prints("0:251");
    bench.run(&["show", "e250"]).exits(1).says("the event \"e250\" at position 0:251");
    let stats = bench.run(&["stats", "--output", "json"]).exits(3).json();
    assert_eq!((&stats["events"], &stats["corrupt"]), (&499.into(), &1.into()));
    let plan = bench.run(&["replay", "--all", "--dry-run", "--output", "json"]).exits(3);
    assert_eq!(plan.json()["totalEvents"], 499);
    plan.says("1 damaged event cannot be read and is not in the plan");
    assert_eq!(std::fs::read(bench.path("events.db")).unwrap(), before, "reading changed the file");
    let said = bench.run(&["replay", "--all", "--target", "stdout"]).exits(3);
    assert_eq!(said.stdout.lines().count(), 499);
}

#[test]
fn a_store_that_was_cut_says_so_and_a_backup_takes_its_place() {
    let bench = bench();
    bench.run(&["backup", "copy.db"]).ok();
    let whole = std::fs::read(bench.path("events.db")).unwrap();
    for length in [whole.len() - 5000, whole.len() * 3 / 5, 4096, 100, 17] {
        bench.file("events.db", &whole[..length]);
        for args in [&["export"][..], &["list"], &["verify"], &["stats"], &["replay", "--all", "--dry-run"]] {
            let said = bench.run(args).exits(1).says("sqlite:events.db");
            assert!(said.stderr.contains("hint: "), "{length}: {said:?}");
        }
        let said = bench.run(&["health"]).exits(4).prints("unhealthy");
        assert!(!said.stdout.contains("panicked"), "{said:?}");
        bench.pipe(&["publish"], registered("new", "u", "2024-01-15T10:30:00Z")).exits(1);
        assert_eq!(std::fs::read(bench.path("events.db")).unwrap(), &whole[..length], "{length}: changed");
    }
    // A file that is no database any more may contain anything. It is replaced as requested, and kept.
    let said = bench.run(&["restore", "copy.db", "--replace", "--yes"]).ok().prints("restored 500 events");
    said.says("the damaged store was kept as events.db.damaged-1");
    assert_eq!(std::fs::read(bench.path("events.db.damaged-1")).unwrap(), &whole[..17]);
    let cut = &whole[..whole.len() - 5000];
    bench.file("events.db", cut);
    bench.file("torn.db", cut);
    bench.run(&["restore", "torn.db", "--replace", "--yes"]).exits(1).says("try another backup");
    assert_eq!(std::fs::read(bench.path("events.db")).unwrap(), cut);
    let said = bench.run(&["restore", "copy.db", "--replace", "--yes"]).ok().prints("restored 500 events");
    said.says("the damaged store was kept as events.db.damaged-2");
    assert_eq!(std::fs::read(bench.path("events.db.damaged-2")).unwrap(), cut);
    bench.run(&["verify"]).ok();
}

/// Exchanges two pages of a file that contain events. Returns false if there are no two such pages.
fn exchange_log_pages(file: &mut [u8]) -> bool {
    const LEAF_OF_A_TABLE: u8 = 0x0d;
    let size = usize::from(u16::from_be_bytes([file[16], file[17]]));
    let holds_events = |page: &&usize| {
        let page = &file[**page * size..(**page + 1) * size];
        page[0] == LEAF_OF_A_TABLE && page.windows(9).any(|bytes| bytes == b"\"userId\":")
    };
    let pages: Vec<usize> = (1..file.len() / size).collect();
    let pages: Vec<usize> = pages.iter().filter(holds_events).copied().collect();
    let (Some(one), Some(other)) = (pages.get(pages.len() / 3), pages.get(pages.len() / 2)) else {
        return false;
    };
    if one == other {
        return false;
    }
    for at in 0..size {
        file.swap(one * size + at, other * size + at);
    }
    true
}

#[test]
fn exchanged_pages_of_the_log_are_no_complete_answer() {
    // These are more events than the end of a log without index entries may have.
    let types = ["one", "two", "three"];
    let event = |n: usize| {
        let event = registered(&format!("e{n}"), &format!("user-{}", n % 7), "2024-01-15T10:30:00Z");
        event.replace("user.registered", types[n % types.len()])
    };
    let bench = Bench::new();
    let events: Vec<String> = (0..3000).map(event).collect();
    bench.pipe(&["publish", "--unknown-types", "accept"], events.join("\n")).ok();
    let listed = |event_type: &str| {
        bench.run(&["list", "--type", event_type, "--limit", "3000", "--output", "ndjson"])
    };
    let before: Vec<usize> = types.iter().map(|event_type| listed(event_type).ok().lines().len()).collect();
    let mut file = std::fs::read(bench.path("events.db")).unwrap();
    assert!(exchange_log_pages(&mut file), "a log of several pages");
    bench.file("events.db", &file);
    let mut lacks = 0;
    for (event_type, before) in types.iter().zip(before) {
        let said = listed(event_type);
        if said.stdout.lines().count() < before {
            lacks += 1;
            assert_ne!(said.code, 0, "{event_type}: events are missing: {said:?}");
        }
    }
    assert!(lacks > 0, "the exchange had no effect");
    assert_ne!(bench.run(&["list", "--limit", "3000"]).code, 0);
    assert_ne!(bench.run(&["export"]).code, 0);
    bench.run(&["verify"]).exits(3);
}
