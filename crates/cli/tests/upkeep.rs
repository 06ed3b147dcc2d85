//! The maintenance commands: health, verify, trim, erase, backup, restore, schemas, settings and help.

mod common;

use common::{Bench, registered, some};
use serde_json::{Value, json};

#[test]
fn init_makes_an_empty_store_once() {
    let bench = Bench::new();
    let made = bench.json(&["init"]);
    assert_eq!((&made["created"], &made["events"]), (&json!(true), &json!(0)));
    bench.run(&["init"]).ok().prints("there is a store already");
    assert_eq!(bench.run(&["list", "--output", "json"]).ok().json()["events"], json!([]));
}

#[test]
fn a_store_that_is_not_there_is_unhealthy() {
    let said = Bench::new().run(&["health", "--output", "json"]).exits(4);
    let health = said.json();
    assert_eq!(health["status"], "unhealthy");
    assert_eq!(health["checks"][0]["name"], "store");
    assert_eq!(health["checks"][0]["status"], "fail");
    let redis = Bench::new().without("EVENT_REPLAY_STORE").env("REDIS_URL", "redis://127.0.0.1:1");
    redis.run(&["health"]).exits(4).prints("the store cannot be reached");
}

#[test]
fn health_names_every_check_with_what_it_saw() {
    let bench = Bench::with(&some());
    let health = bench.json(&["health"]);
    assert_eq!(health["status"], "healthy");
    let checks = health["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    let of_the_store = ["store", "writable", "disk-space", "schemas", "newest-event"];
    let alerts = [
        "validation-failures",
        "storage-failures",
        "dead-letters",
        "open-dead-letters",
        "dropped-deliveries",
        "failing-attempts",
        "processing-time",
    ];
    assert_eq!(names, [&of_the_store[..], &alerts].concat());
    for check in checks {
        for member in ["status", "observed", "threshold", "unit", "message"] {
            assert!(check.get(member).is_some(), "{check}");
        }
    }
}

#[test]
fn a_checkpoint_that_holds_back_retention_degrades_health() {
    let bench = Bench::with(&some()).env("EVENT_REPLAY_RETENTION_MAX_EVENTS", "6");
    assert_eq!(bench.json(&["health"])["status"], "healthy");
    bench.run(&["checkpoint", "held", "e1", "--hold"]).ok();
    let health = bench.json(&["health"]);
    assert_eq!(health["status"], "degraded");
    let checks = health["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "retention").unwrap().clone();
    assert_eq!((&check["observed"], &check["threshold"]), (&json!(83), &json!(70)));
    let said = bench.run(&["trim", "--max-events", "0", "--yes"]).ok().prints("dropped 1 event (");
    assert_eq!(said.stderr.matches("checkpoint held keeps events").count(), 1, "{said:?}");
}

#[test]
fn retention_from_the_settings_is_applied_after_an_append() {
    let bench = Bench::new();
    bench.file("event-replay.toml", "[retention.types.\"user.*\"]\nmax_events = 1\n");
    bench.pipe(&["publish"], some()).ok().says("retention dropped 2 events");
    assert_eq!(bench.json(&["stats"])["byType"], json!({"payment.processed": 2, "user.registered": 1}));
}

#[test]
fn a_dry_run_of_trim_counts_and_keeps() {
    let bench = Bench::with(&some());
    let report = bench.json(&["trim", "--max-events", "2", "--dry-run"]);
    assert_eq!((&report["dryRun"], &report["events"]), (&json!(true), &json!(3)));
    assert_eq!(bench.json(&["stats"])["events"], 5);
    bench.run(&["checkpoint", "c", "e2"]).ok();
    assert_eq!(bench.json(&["trim", "--to-checkpoint", "c", "--yes"])["events"], 2);
    assert_eq!(bench.json(&["stats"])["events"], 3);
}

#[test]
fn what_was_erased_is_gone_and_stays_out() {
    let bench = Bench::with(&some());
    let would = bench.json(&["erase", "user=user-123", "--entity", "payment=pay-e3", "--dry-run"]);
    assert_eq!((&would["dryRun"], &would["erased"]), (&json!(true), &json!(2)));
    assert_eq!(bench.json(&["stats"])["events"], 5);
    bench
        .run(&["erase", "--entity", "payment=pay-e3"])
        .exits(2)
        .says("this would erase 1 event that names payment=pay-e3 from sqlite:events.db, which cannot be undone")
        .says("nothing was changed\nhint: add --yes to continue, or --dry-run to see what would be removed");
    let erased = bench.json(&["erase", "user=user-123", "--yes"]);
    assert_eq!(erased["erased"], 2);
    assert_eq!(bench.json(&["list", "--user-id", "user-123"])["events"], json!([]));
    let said = bench.pipe(&["publish", "--output", "json"], some()).exits(3);
    let report = said.json();
    assert_eq!((&report["alreadyStored"], &report["rejected"]), (&json!(3), &json!(2)));
    assert_eq!(report["errors"][0]["violations"][0]["rule"], "erased");
    let said = bench.run(&["erase", "user=user-456", "--yes"]).ok();
    said.prints("erased 2 events that name user=user-456 (")
        .prints("; copies may remain in: backups and exports");
    let file = std::fs::read(bench.path("events.db")).unwrap();
    assert!(!String::from_utf8_lossy(&file).contains("user-123@example.com"));
}

#[test]
fn a_backup_comes_back() {
    let bench = Bench::with(&some());
    bench.run(&["checkpoint", "c", "e2"]).ok();
    bench.run(&["backup", "copy.db"]).ok();
    bench.run(&["backup", "copy.db"]).exits(1).says("copy.db exists already; nothing was written");
    bench.run(&["backup", "no/where.db"]).exits(1).says("there is no folder no; nothing was written");
    let before = std::fs::read(bench.path("events.db")).unwrap();
    bench.file("letter.txt", "dear grandmother");
    for (backup, message) in [
        ("nowhere.db", "there is no backup at nowhere.db; nothing was changed"),
        (".", ". is a folder, not a backup; nothing was changed"),
        ("letter.txt", "restore from letter.txt to sqlite:events.db: the file is not an event store"),
    ] {
        let said = bench.run(&["restore", backup, "--replace", "--yes"]).exits(1).says(message);
        said.says("name the file that `event-replay backup FILE` wrote");
    }
    assert_eq!(std::fs::read(bench.path("events.db")).unwrap(), before);
    bench.pipe(&["publish"], registered("later", "u", "2024-01-15T10:30:00Z")).ok();
    bench.run(&["restore", "copy.db"]).exits(1).says("add --replace");
    bench.run(&["restore", "copy.db", "--replace"]).exits(2).says("add --yes");
    bench.run(&["restore", "copy.db", "--replace", "--yes"]).ok().prints("restored 5 events");
    bench.run(&["show", "later"]).exits(1);
    bench.run(&["restore", "copy.db", "--store", "sqlite:deep/er/other.db"]).ok();
    let other = bench.run(&["export", "--store", "sqlite:deep/er/other.db"]).ok();
    assert_eq!(other.stdout, format!("{}\n", some()));
    bench.run(&["checkpoints", "show", "c", "--store", "sqlite:deep/er/other.db"]).ok();
}

#[test]
fn verify_finds_nothing_in_a_sound_store() {
    let bench = Bench::with(&some());
    let report = bench.json(&["verify"]);
    assert_eq!((&report["events"], &report["totalFindings"]), (&json!(5), &json!(0)));
    assert!(report["indexEntries"].as_u64().unwrap() >= 5, "{report}");
}

#[test]
fn reading_commands_need_no_right_to_write() {
    let bench = Bench::with(&some());
    let file = bench.path("events.db");
    let mut rights = std::fs::metadata(&file).unwrap().permissions();
    rights.set_readonly(true);
    std::fs::set_permissions(&file, rights).unwrap();
    for args in [
        &["list"][..],
        &["stats"],
        &["export"],
        &["verify"],
        &["replay", "--all", "--dry-run"],
        &["checkpoints", "list"],
    ] {
        bench.run(args).ok();
    }
}

#[test]
fn schemas_are_listed_shown_added_checked_and_removed() {
    let bench = Bench::with(&some());
    let list = bench.json(&["validate-schemas"]);
    assert_eq!(list.as_array().unwrap().len(), 16);
    assert!(list.as_array().unwrap().iter().all(|row| row["valid"] == json!(true)), "{list}");
    bench.run(&["schemas", "show", "user.registered"]).ok().prints("\"registrationMethod\"");
    let strict = r#"{"definitions":{"D":{"required":["email","firstName"]}}}"#;
    bench.file("s.json", strict);
    let args = ["user.registered", "s.json", "--pointer", "/definitions/D", "--data"];
    let check: Vec<&str> = ["schemas", "check"].into_iter().chain(args).chain(["--output", "json"]).collect();
    let report = bench.run(&check).exits(3).json();
    assert_eq!((&report["checked"], &report["invalid"]), (&json!(3), &json!(3)));
    assert_eq!(report["examples"][0]["violations"][0]["pointer"], "/data/firstName");
    let add: Vec<&str> = ["schemas", "add"].into_iter().chain(args).collect();
    bench.run(&add).ok().prints("added the schema for user.registered");
    bench.run(&add).ok().prints("replaced");
    bench
        .pipe(&["publish"], registered("new", "u", "2024-01-15T10:30:00Z"))
        .exits(3)
        .prints("/data/firstName");
    let plan = bench.json(&["replay", "--all", "--dry-run"]);
    assert_eq!(plan["invalid"], 3);
    let shown = bench.json(&["schemas", "show", "user.registered"]);
    assert_eq!((&shown["origin"], &shown["describes"]), (&json!("store"), &json!("data")));
    bench.run(&["schemas", "remove", "user.registered"]).ok();
    bench.run(&["schemas", "remove", "user.registered"]).exits(1).says("is built in");
    bench.pipe(&["publish"], registered("new", "u", "2024-01-15T10:30:00Z")).ok();
}

#[test]
fn a_misspelt_variable_is_named() {
    let bench = Bench::new().env("EVENT_REPLAY_RETRIES_MAXX", "9").env("EVENT_REPLAY_MY_OWN", "1");
    let said = bench.run(&["config", "show"]).ok();
    let warning = "warning: the environment variable EVENT_REPLAY_RETRIES_MAXX sets nothing; did you mean EVENT_REPLAY_RETRIES_MAX?";
    let said = said.says(warning);
    assert!(!said.stderr.contains("MY_OWN"), "{said:?}");
    let said = Bench::new().env("EVENT_REPLAY_RETRIES_MAX", "9").run(&["config", "show"]).ok();
    assert!(!said.stderr.contains("sets nothing"), "{said:?}");
}

/// Help texts must not contain escapes of the source. A line of an example may end with a backslash.
#[test]
fn no_help_shows_an_escape() {
    let bench = Bench::new();
    let page = bench.run(&["help"]).ok().stdout;
    let commands = page.split("Topics of").next().unwrap();
    let found = commands.lines().filter(|line| line.starts_with("  "));
    let names: Vec<&str> = found.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let help = bench.run(&[name, "--help"]).ok().stdout;
        for line in help.lines() {
            assert!(!line.trim_end_matches('\\').contains('\\'), "{name}: {line}");
        }
    }
}

#[test]
fn built_in_schemas_need_no_store() {
    let bench = Bench::new();
    bench.run(&["validate-schemas"]).ok().says("there is no store").prints("user.registered");
    bench.run(&["schemas", "list"]).ok().prints("payment.processed");
    assert!(!bench.path("events.db").exists());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let bench = Bench::new().without("EVENT_REPLAY_STORE").env("MAX_EVENT_RETRIES", "7");
    bench.file(
        "event-replay.toml",
        "store = \"sqlite:from-file.db\"\n[validation]\nengine = \"valico\"\n[retries]\nmax = 5\n",
    );
    let find = |settings: &Value, key: &str| {
        let row = settings.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap();
        (row["value"].as_str().unwrap_or("unset").to_owned(), row["origin"].as_str().unwrap().to_owned())
    };
    let settings = bench.json(&["config", "show"]);
    assert_eq!(find(&settings, "retries.max"), ("7".into(), "MAX_EVENT_RETRIES".into()));
    assert_eq!(find(&settings, "validation.engine"), ("valico".into(), "event-replay.toml".into()));
    assert_eq!(find(&settings, "store"), ("sqlite:from-file.db".into(), "event-replay.toml".into()));
    assert_eq!(find(&settings, "limits.max_depth"), ("64".into(), "default".into()));
    assert_eq!(find(&settings, "service"), ("unset".into(), "default".into()));
    let settings = bench.json(&["config", "show", "--store", "memory:"]);
    assert_eq!(find(&settings, "store"), ("memory:".into(), "--store".into()));
    let bench = bench.env("EVENT_REPLAY_STORE", "sqlite:from-env.db?namespace=blue");
    let settings = bench.json(&["config", "show"]);
    assert_eq!(
        find(&settings, "store"),
        ("sqlite:from-env.db?namespace=blue".into(), "EVENT_REPLAY_STORE".into())
    );
}

#[test]
fn settings_of_the_delivery_are_known_by_the_names_that_users_have() {
    let find = |bench: &Bench, key: &str| {
        let settings = bench.json(&["config", "show"]);
        let row = settings.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
        (row["value"].as_str().unwrap().to_owned(), row["origin"].as_str().unwrap().to_owned())
    };
    for (variable, key, value) in [
        ("ENABLE_EVENT_VALIDATION", "validation.enabled", "false"),
        ("ENABLE_EVENT_STORE", "event_store.enabled", "false"),
        ("ENABLE_DEAD_LETTER_QUEUE", "dead_letters.enabled", "false"),
        ("MAX_EVENT_RETRIES", "retries.max", "9"),
        ("DEFAULT_TIMEOUT", "handlers.timeout", "5000"),
        ("EVENT_REPLAY_TIMEOUT", "handlers.timeout", "2s"),
        ("EVENT_REPLAY_RETENTION_FORGOTTEN_AFTER", "retention.forgotten_after", "3d"),
    ] {
        let bench = Bench::new().env(variable, value);
        assert_eq!(find(&bench, key), (value.to_owned(), variable.to_owned()));
        assert_eq!(find(&Bench::new(), key).1, "default");
    }
}

#[test]
fn what_a_namespace_keeps_is_frozen_when_it_is_made() {
    let bench = Bench::new().env("ENABLE_EVENT_STORE", "false");
    bench.pipe(&["publish"], some()).ok().prints("stored 5");
    bench.pipe(&["publish"], some()).ok().prints("already stored 5");
    let bench = bench.env("ENABLE_EVENT_STORE", "true");
    bench
        .pipe(&["publish"], some())
        .exits(1)
        .says("sqlite:events.db keeps events only until they are delivered")
        .says("event_store.enabled is true (from ENABLE_EVENT_STORE)");
    let bench = bench.without("ENABLE_EVENT_STORE");
    bench.pipe(&["publish"], some()).ok().prints("already stored 5");
    let shown = bench.run(&["config", "show"]).ok();
    let row = shown.stdout.lines().find(|line| line.trim_start().starts_with("event_store.enabled")).unwrap();
    assert!(row.contains(" false ") && row.contains("the store, frozen when it was made"), "{row}");
    let kept = Bench::with(&some()).env("ENABLE_EVENT_STORE", "false");
    let rows = kept.json(&["config", "show"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["key"] == "event_store.enabled").unwrap();
    assert_eq!(row["value"], "true");
    assert_eq!(row["origin"], "the store, frozen when it was made; ENABLE_EVENT_STORE says false");
    kept.run(&["import"]).exits(1).says("sqlite:events.db keeps every event");
    kept.run(&["list"]).ok().prints("e1");
}

#[test]
fn a_path_in_a_settings_file_is_meant_from_that_file() {
    let bench = Bench::new().without("EVENT_REPLAY_STORE");
    std::fs::create_dir(bench.path("conf")).unwrap();
    bench.file("conf/mine.toml", "store = \"sqlite:data/events.db\"\n");
    bench.run(&["init", "--config", "conf/mine.toml"]).ok().prints("conf/data/events.db");
    assert!(bench.path("conf/data/events.db").exists());
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    for (file, message) in [
        ("stroe = \"x\"", "there is no setting \"stroe\""),
        ("[validation]\nengine = \"abacus\"", "choose jsonschema or valico"),
        ("[validation]\nenabled = \"perhaps\"", "it is true or false"),
        ("[retention]\nmax_age = \"long\"", "a duration is a number with a unit"),
        ("[retention.types.\"user.*\"]\nmax_agee = \"1d\"", "there is no setting"),
        ("[dead_letters]\nenabled = \"perhaps\"", "it is true or false"),
        ("[event_store]\nenabled = \"perhaps\"", "it is true or false"),
        ("[handlers]\ntimeout = \"0\"", "a timeout is a number of milliseconds"),
        ("[retention]\nmax_hold = \"long\"", "a duration is a number with a unit"),
        ("this is not toml", "the settings cannot be read"),
    ] {
        let bench = Bench::new();
        bench.file("event-replay.toml", file);
        bench.run(&["config", "show"]).exits(2).says(message);
    }
    Bench::new().env("MAX_EVENT_RETRIES", "NaN").run(&["list"]).exits(2).says("MAX_EVENT_RETRIES");
}

#[test]
fn a_set_redis_is_never_a_silent_file() {
    for (name, value) in
        [("REDIS_URL", "redis://:hunter2@127.0.0.1:1"), ("REDIS_HOST", "cache.invalid"), ("REDIS_PORT", "1")]
    {
        let bench = Bench::new().without("EVENT_REPLAY_STORE").env(name, value);
        let began = std::time::Instant::now();
        let said = bench.pipe(&["publish"], some()).exits(1).says("the store cannot be reached").says(name);
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        assert!(!said.stderr.contains("hunter2"), "{said:?}");
        let shown = bench.run(&["config", "show"]).ok().prints("redis://");
        assert!(!shown.stdout.contains("hunter2"), "{shown:?}");
        assert_eq!(std::fs::read_dir(bench.path(".")).unwrap().count(), 0, "something was made");
    }
}

#[test]
fn without_any_setting_the_store_is_in_the_users_data_folder() {
    let bench = Bench::new().without("EVENT_REPLAY_STORE");
    bench.run(&["list"]).exits(1).says(".local/share/event-replay/events.db");
    bench.pipe(&["publish"], some()).ok();
    assert!(bench.path(".local/share/event-replay/events.db").exists());
    bench.run(&["list"]).ok().prints("event-456789");
}

#[test]
fn another_namespace_of_a_file_is_another_store() {
    let bench = Bench::with(&some());
    bench.run(&["list", "--store", "sqlite:events.db?namespace=blue"]).exits(1).says("namespace");
}

#[test]
fn help_is_grouped_and_every_command_has_examples() {
    let bench = Bench::new();
    bench.run(&["help"]).ok().prints("Find events:").prints("replay-correlation");
    bench.run(&["replay", "--help"]).ok().prints("Examples:").prints("--correlation-id");
    bench.run(&["schemas", "add", "--help"]).ok().prints("event-replay schemas add");
    bench.run(&["--version"]).ok().prints("event-replay ");
    bench.run(&[]).exits(2);
}

#[test]
fn completions_and_man_pages_are_written() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        bench.run(&["completions", shell]).ok().prints("EVENT_REPLAY_COMPLETE");
    }
    bench.run(&["man", "pages"]).ok();
    let page = std::fs::read_to_string(bench.path("pages/event-replay-replay.1")).unwrap();
    assert!(page.contains("batch\\-size"), "{page}");
    let example =
        "\n  event\\-replay replay \\-\\-type course.enrolled \\-\\-user\\-id user\\-123 \\-\\-dry\\-run\n";
    assert!(page.contains(".nf\nExamples:") && page.contains(example), "{page}");
}

#[test]
fn no_colour_reaches_a_pipe() {
    let bench = Bench::with(&some());
    for args in [&["list"][..], &["stats"], &["health"], &["list", "--limit", "0"]] {
        let said = bench.run(args);
        assert!(!format!("{}{}", said.stdout, said.stderr).contains('\u{1b}'), "{said:?}");
    }
}
