//! The laws of the ports on the Redis store. The namespace on a real server has four partitions.

mod harness;

mod in_four_partitions {
    conformance::suite!(crate::harness::RedisHarness::of(4).await);
}
