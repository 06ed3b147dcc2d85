//! The ports' laws, held by the Redis store on a real server: a namespace of sixteen partitions.

mod harness;

mod in_sixteen_partitions {
    conformance::suite!(crate::harness::RedisHarness::of(16).await);
}
