//! Runs every law of the engine on the engine in RAM.

mod harness;

mod one_partition {
    conformance::engine_suite!(crate::harness::Memory(1));
}

mod three_partitions {
    conformance::engine_suite!(crate::harness::Memory(3));
}
