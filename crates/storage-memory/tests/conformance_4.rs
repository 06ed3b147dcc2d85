//! The store in RAM, divided into four partitions, under every law of the ports.

mod harness;

conformance::suite!(harness::Memory(4));
