//! The engine's laws hold for the smallest correct engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod naive;

mod one_partition {
    event_replay_conformance::engine_suite!(crate::naive::NaiveHarness(1));
}

mod three_partitions {
    event_replay_conformance::engine_suite!(crate::naive::NaiveHarness(3));
}
