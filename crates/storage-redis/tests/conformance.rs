//! The ports' laws, held by the Redis store on a real server: a namespace of one partition.

mod harness;

mod on_redis {
    conformance::suite!(crate::harness::RedisHarness::new().await);
}
