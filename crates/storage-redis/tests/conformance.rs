//! The laws of the ports, tested on the Redis store with real servers: each program that `tests/servers/install`
//! knows.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "what did not run is named")]

mod harness;

/// Programs by module, name and major version. All laws run on each.
macro_rules! on_each_program {
    ($($module:ident: $name:literal $major:literal,)*) => {
        $(mod $module {
            conformance::suite!(match crate::harness::RedisHarness::installed($name, $major).await {
                Some(harness) => harness,
                None => return,
            });
        })*

        #[test]
        fn every_installed_program_is_tested() {
            for binary in servers::Binary::all().unwrap() {
                if ![$(($name, $major)),*].contains(&(binary.name.as_str(), binary.major())) {
                    println!("NOT RUN: the ports' laws on {binary}, which has no module in conformance.rs");
                }
            }
        }
    };
}

on_each_program! {
    on_redis_7: "redis" 7,
    on_redis_8: "redis" 8,
    on_valkey_9: "valkey" 9,
}
