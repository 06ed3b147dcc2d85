//! The laws of a storage engine, held by the SQLite engine: with the index following at once, after a few events, and never
//! within what a test stores, so that every law meets the index, the unindexed tail, and both together.

mod harness;

mod indexed_at_once {
    conformance::engine_suite!(crate::harness::SqliteHarness { tail_events: 1, bulk_tail_events: 1 });
}

mod indexed_after_a_few {
    conformance::engine_suite!(crate::harness::SqliteHarness { tail_events: 3, bulk_tail_events: 40 });
}

mod unindexed {
    conformance::engine_suite!(crate::harness::SqliteHarness { tail_events: 512, bulk_tail_events: 16_384 });
}
