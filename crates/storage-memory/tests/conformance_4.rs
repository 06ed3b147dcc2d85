//! Runs every law of the ports on the store in RAM with four partitions.

mod harness;

conformance::suite!(harness::Memory(4));
