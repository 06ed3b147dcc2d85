//! Runs every law of the ports on the store in RAM.

mod harness;

conformance::suite!(harness::Memory(1));
