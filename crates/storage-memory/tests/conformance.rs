//! The store in RAM under every law of the ports.

mod harness;

conformance::suite!(harness::Memory(1));
