//! The laws of the engine, tested on real servers: each program that `tests/servers/install` knows, and several
//! partitions.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "what did not run is named")]

mod harness;

/// Programs by module, name and major version. All laws run on each, with namespaces of this number of partitions.
macro_rules! on_each_program {
    ($($module:ident: $name:literal $major:literal, $partitions:literal;)*) => {
        $(mod $module {
            conformance::engine_suite!(match crate::harness::RedisHarness::installed($name, $major).await {
                Some(harness) => harness.with_partitions($partitions),
                None => return,
            });
        })*
    };
}

on_each_program! {
    on_redis_7: "redis" 7, 1;
    on_redis_8: "redis" 8, 1;
    on_valkey_9: "valkey" 9, 1;
    in_4_partitions: "redis" 7, 4;
}
