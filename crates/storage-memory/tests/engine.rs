//! The engine in RAM under every law of the engine.

mod harness;

mod one_partition {
    conformance::engine_suite!(crate::harness::Memory(1));
}

mod three_partitions {
    conformance::engine_suite!(crate::harness::Memory(3));
}
