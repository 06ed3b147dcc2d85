//! The laws of the ports, tested on the Redis store with a real server and a namespace of four partitions.

mod harness;

mod in_four_partitions {
    conformance::suite!(crate::harness::RedisHarness::of(4).await);
}
