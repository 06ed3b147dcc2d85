//! The ports' laws, held by the Redis store on a real server: a namespace of four partitions.

mod harness;

mod in_four_partitions {
    conformance::suite!(crate::harness::RedisHarness::of(4).await);
}
