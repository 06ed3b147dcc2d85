//! Runs the laws of a storage engine on the SQLite engine. The index follows immediately, after a few events, or never
//! during a test. Every law thus covers the index, the unindexed tail, and both together.

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
