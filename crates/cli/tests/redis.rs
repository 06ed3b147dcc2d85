//! The command line on a Redis server: commands that create a store, requirements on the server, and its secrets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{
    Bench,
    redis::{server, server_of},
    some,
};
use serde_json::Value;
use servers::{Binary, Certificates, ClientCertificates, Cluster, Config, MaxMemory, Sentinels, Server};

fn started(config: &Config) -> (tokio::runtime::Runtime, Server) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(Server::start(&Binary::default(), config)).unwrap();
    (runtime, server)
}

fn check<'v>(health: &'v Value, name: &str) -> &'v Value {
    let checks = health["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {health}"))
}

#[test]
fn init_makes_a_namespace_and_readers_only_open_it() {
    let Some(bench) = Bench::on_redis() else { return };
    bench.run(&["list"]).exits(1).says("there is no store at redis://").says("event-replay init");
    bench.run(&["consume", "g", "--until-idle", "1s"]).exits(1).says("there is no store at redis://");
    bench.run(&["init"]).ok().prints("created an empty store: redis://");
    bench.run(&["init"]).ok().prints("there is a store already");
    bench.run(&["list"]).ok();
    bench.pipe(&["publish"], some()).ok().prints("stored 5");
    bench.run(&["list"]).ok().prints("event-456789");
    assert_eq!(std::fs::read_dir(bench.path(".")).unwrap().count(), 0, "a file was made");
}

#[test]
fn host_and_port_name_a_store_too() {
    let Some(server) = server() else { return };
    let bench = Bench::new().without("EVENT_REPLAY_STORE").env("REDIS_PORT", &server.port().to_string());
    let bench = bench.env("REDIS_HOST", "127.0.0.1");
    bench.pipe(&["publish"], some()).ok();
    bench.run(&["list", "--limit", "1"]).ok().prints("event-456789");
    bench.run(&["backup", "copy.db"]).exits(2).says("works with files alone");
}

#[test]
fn health_shows_what_it_finds_of_the_server() {
    let Some(bench) = Bench::on_redis() else { return };
    bench.pipe(&["publish"], some()).ok();
    let health = bench.json(&["health"]);
    assert_eq!(health["status"], "degraded", "{health}");
    for (name, status) in [
        ("store", "pass"),
        ("redis-server", "pass"),
        ("redis-role", "pass"),
        ("redis-eviction", "pass"),
        ("redis-persistence", "warn"),
        ("writable", "pass"),
    ] {
        assert_eq!(check(&health, name)["status"], status, "{health}");
    }
    assert!(
        check(&health, "redis-persistence")["message"].as_str().unwrap().contains("append-only"),
        "{health}"
    );
}

#[test]
fn a_server_that_evicts_takes_no_events_and_is_unhealthy() {
    if server().is_none() {
        return;
    }
    let max_memory = Some(MaxMemory { bytes: 100 << 20, policy: "noeviction".to_owned() });
    let (runtime, server) = started(&Config { max_memory, ..Config::default() });
    let bench = Bench::new().env("EVENT_REPLAY_STORE", &server.url());
    bench.pipe(&["publish"], some()).ok();
    runtime.block_on(async {
        let client = redis::Client::open(server.url()).unwrap();
        let mut owner = client.get_multiplexed_async_connection().await.unwrap();
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory-policy").arg("allkeys-lru").exec_async(&mut owner).await.unwrap();
    });
    for args in [&["publish"][..], &["import"], &["consume", "g", "--until-idle", "1s"], &["init"]] {
        bench.pipe(args, some()).exits(1).says("CONFIG SET maxmemory-policy noeviction");
    }
    bench.run(&["list"]).ok().prints("event-456789");
    let health = bench.run(&["health", "--output", "json"]).exits(4).json();
    assert_eq!(check(&health, "redis-eviction")["status"], "fail", "{health}");
}

#[test]
fn a_password_comes_from_environment_or_file_and_is_never_shown() {
    if server().is_none() {
        return;
    }
    let (_runtime, server) = started(&Config { password: Some("hunter2".to_owned()), ..Config::default() });
    let address = format!("redis://127.0.0.1:{}", server.port());
    let without = Bench::new().env("EVENT_REPLAY_STORE", &address).env("EVENT_REPLAY_LOG", "trace");
    without.run(&["init"]).exits(1).says("REDIS_PASSWORD");
    let wrong = Bench::new().env("EVENT_REPLAY_STORE", &address).env("REDIS_PASSWORD", "hunter3");
    let said = wrong.run(&["init"]).exits(1).says("wrong user name or password");
    assert!(!said.stderr.contains("hunter"), "{said:?}");

    let from_file = Bench::new().env("EVENT_REPLAY_STORE", &address);
    from_file.file("secret", "hunter2\n");
    let benches = [
        Bench::new().env("EVENT_REPLAY_STORE", &address).env("REDIS_PASSWORD", "hunter2"),
        Bench::new().env("EVENT_REPLAY_STORE", &address).env("EVENT_REPLAY_REDIS_PASSWORD", "hunter2"),
        from_file.env("EVENT_REPLAY_REDIS_PASSWORD_FILE", "secret"),
        Bench::new().env("EVENT_REPLAY_STORE", &server.url()),
    ];
    for bench in benches {
        let bench = bench.env("EVENT_REPLAY_LOG", "trace");
        for said in [
            bench.pipe(&["publish"], some()).ok(),
            bench.run(&["config", "show"]).ok(),
            bench.run(&["health"]),
        ] {
            assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
        }
    }
    let missing =
        Bench::new().env("EVENT_REPLAY_STORE", &address).env("EVENT_REPLAY_REDIS_PASSWORD_FILE", "nowhere");
    missing.run(&["init"]).exits(1).says("nowhere");
}

#[test]
fn tls_wants_the_authority_and_the_clients_certificate() {
    if server().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = Certificates::make(folder.path()).unwrap();
    let tls = Some(made.tls(ClientCertificates::Required));
    let (_runtime, server) = started(&Config { tls, ..Config::default() });
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let bench = Bench::new().env("EVENT_REPLAY_STORE", &server.url());
    bench.run(&["init"]).exits(1);
    let bench = bench.env("EVENT_REPLAY_REDIS_CA", &text(&made.ca));
    bench.run(&["init"]).exits(1);
    let bench = bench.env("EVENT_REPLAY_REDIS_CERT", &text(&made.client));
    bench.run(&["init"]).exits(2).says("EVENT_REPLAY_REDIS_KEY");
    let bench = bench.env("EVENT_REPLAY_REDIS_KEY", &text(&made.client_key));
    bench.pipe(&["publish"], some()).ok();
    bench.run(&["list"]).ok().prints("event-456789");
}

#[test]
fn stats_say_what_a_namespace_takes_of_the_servers_memory() {
    let Some(bench) = Bench::on_redis() else { return };
    bench.run(&["init"]).ok();
    let empty = bench.json(&["stats"])["bytesOccupied"].as_u64().unwrap();
    bench.pipe(&["publish"], some()).ok();
    let stats = bench.json(&["stats"]);
    let (occupied, bytes) = (stats["bytesOccupied"].as_u64().unwrap(), stats["bytes"].as_u64().unwrap());
    assert!(empty > 0 && occupied > empty + bytes, "{empty}, then {stats}");
    bench.run(&["stats"]).ok().prints("size of the store");
}

fn the_demo_runs(bench: &Bench, store: &str) {
    let said = bench.run(&["demo", "--events", "400", "--store", store]).ok();
    assert!(said.stdout.contains("All is as the generator says it must be"), "{said:?}");
    assert!(said.stdout.contains("removed again"), "{said:?}");
}

/// Returns the number of keys on a server.
fn keys_of(url: &str) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut owner = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        redis::cmd("DBSIZE").query_async(&mut owner).await.unwrap()
    })
}

fn the_demo_runs_and_leaves_nothing_behind(server: &Server) {
    let bench = Bench::new().without("EVENT_REPLAY_STORE");
    // The demo uses a separate database, so that any remaining keys are the demo's.
    let store = format!("{}/5", server.url());
    the_demo_runs(&bench, &store);
    assert_eq!(keys_of(&store), 0);
    bench.run(&["demo", "--store", "sqlite:x.db"]).exits(2);
}

#[test]
fn the_demo_runs_on_redis_7_and_leaves_nothing_behind() {
    server_of("redis", 7).into_iter().for_each(the_demo_runs_and_leaves_nothing_behind);
}

#[test]
fn the_demo_runs_on_redis_8_and_leaves_nothing_behind() {
    server_of("redis", 8).into_iter().for_each(the_demo_runs_and_leaves_nothing_behind);
}

#[test]
fn the_demo_runs_on_valkey_9_and_leaves_nothing_behind() {
    server_of("valkey", 9).into_iter().for_each(the_demo_runs_and_leaves_nothing_behind);
}

#[test]
fn the_demo_runs_on_several_servers_and_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = Config::default();
    let trio = runtime.block_on(Sentinels::start(&Binary::default(), &config)).unwrap();
    let cluster = runtime.block_on(Cluster::start(&Binary::default(), &config)).unwrap();
    let bench = Bench::new().without("EVENT_REPLAY_STORE");
    let master = runtime.block_on(trio.master()).unwrap();
    for (store, masters) in
        [(trio.url(), &trio.servers()[master..=master]), (cluster.url(), &cluster.nodes()[..3])]
    {
        the_demo_runs(&bench, &store);
        for server in masters {
            assert_eq!(keys_of(&server.url()), 0, "{server}");
        }
    }
}

#[test]
fn several_servers_are_one_store() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = Config { password: Some("hunter2".to_owned()), ..Config::default() };
    let trio = runtime.block_on(Sentinels::start(&Binary::default(), &config)).unwrap();
    let cluster = runtime.block_on(Cluster::start(&Binary::default(), &config)).unwrap();
    for url in [trio.url() + "&namespace=blue", cluster.url() + "?namespace=blue"] {
        let bench = Bench::new().env("EVENT_REPLAY_STORE", &url);
        let shown = url.replace("hunter2", "***");
        bench.run(&["list"]).exits(1).says("there is no store at redis+").says("namespace=blue");
        bench.pipe(&["publish"], some()).ok().prints("stored 5");
        bench.run(&["list"]).ok().prints("event-456789");
        bench.run(&["verify"]).ok();
        bench.run(&["config", "show"]).ok().prints(&shown);
        bench.run(&["backup", "copy.db"]).exits(2).says("works with files alone");
        for said in [bench.run(&["health"]), bench.run(&["-v", "list"])] {
            assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
        }
        bench.run(&["list", "--store", &url]).exits(2).says("a password on the command line");
        // The password may also come from the environment.
        let bare = url.replace(":hunter2@", "");
        let bench = Bench::new().env("EVENT_REPLAY_STORE", &bare);
        bench.run(&["list"]).exits(1).says("the store does not permit this");
        bench.env("REDIS_PASSWORD", "hunter2").run(&["list"]).ok().prints("event-456789");
    }
}

/// If a store cannot be opened, `health` names the failed server.
#[test]
fn a_server_that_is_gone_is_named() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = Config { lines: vec!["cluster-require-full-coverage no".to_owned()], ..Config::default() };
    let mut cluster = runtime.block_on(Cluster::of_masters(&Binary::default(), &config, 3)).unwrap();
    let bench = Bench::new().env("EVENT_REPLAY_STORE", &cluster.url());
    bench.pipe(&["publish"], some()).ok();
    let [dead, alive] = [2, 0].map(|node| format!("127.0.0.1:{}", cluster.nodes()[node].port()));
    runtime.block_on(cluster.nodes_mut()[2].kill()).unwrap();
    bench.run(&["list"]).exits(1).says(&format!("cannot be reached: {dead}: "));
    let health = bench.run(&["health", "--output", "json"]).exits(4);
    let health: serde_json::Value = serde_json::from_str(&health.stdout).unwrap();
    let check = |name: &str| {
        let checks = health["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("{name} is not in {health}")).clone()
    };
    assert_eq!(check("store")["status"], "fail");
    let servers = check("redis-server");
    assert_eq!(servers["status"], "fail");
    let message = servers["message"].as_str().unwrap();
    assert!(message.contains(&format!("{dead}: it does not answer")), "{message}");
    assert!(message.contains(&alive), "{message}");
}

#[test]
fn addresses_of_several_servers_that_make_no_sense_are_refused_with_a_sentence() {
    let bench = Bench::new().without("EVENT_REPLAY_STORE");
    for (address, because) in [
        ("redis+sentinel://localhost:26379", "add ?master=NAME"),
        ("redis+cluster://one,,two", "host is missing"),
        ("redis+cluster://one/3", "no databases"),
        ("redis+sentinel://one?master=m&quorum=2", "no parameter"),
    ] {
        bench.run(&["list", "--store", address]).exits(2).says(because).says("redis+sentinel://HOST");
    }
    // Without a server the command fails, and writes no file instead.
    for address in ["redis+sentinel://127.0.0.1:1?master=m", "redis+cluster://127.0.0.1:1"] {
        bench
            .run(&["publish", "--store", address])
            .exits(1)
            .says("cannot be reached")
            .says("is the server running?");
    }
    assert_eq!(std::fs::read_dir(bench.path(".")).unwrap().count(), 0, "a file was made");
}

#[test]
fn certificates_without_tls_are_refused() {
    let Some(bench) = Bench::on_redis() else { return };
    let bench = bench.env("EVENT_REPLAY_REDIS_CA", "ca.pem");
    let said =
        bench.run(&["init"]).exits(1).says("certificates are set").says("write rediss in place of redis");
    assert!(said.stdout.is_empty(), "{said:#?}");
}
