//! The settings of a bus, one test per value, end to end. Each is set by the builder and by the environment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]
#![allow(clippy::print_stdout, reason = "a child says what it read")]

use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use event_replay::{
    Bus, BusBuilder, BusError, BusSettings, DeadLetter, Delivery, HandlerError, Housekeeper,
    HousekeepingOptions, OpenOptions, PublishError, RetentionMode, RuntimeClock, StartAt, Store, Stores,
    Timestamp, built_in_schemas,
    domain::{
        group::GroupSpec,
        ports::{Clock, DeadLetterQuery},
        stats::DROPPED,
    },
    handler,
    memory::MemoryEngine,
    open_with, replay_manager, settings_from, settings_from_env, until_idle,
};
use serde_json::json;

const VALID: &str = r#"{"email":"ann@example.com","registrationMethod":"email"}"#;

fn event(id: &str, data: &str) -> Vec<u8> {
    format!(
        r#"{{"id":"{id}","type":"user.registered","version":"1.0","timestamp":"2024-01-15T10:30:00Z","source":"user-service","userId":"user-{id}","metadata":{{}},"data":{data}}}"#
    )
    .into_bytes()
}

/// A way to set a value.
type Way = Box<dyn Fn(BusBuilder) -> BusBuilder>;

/// Returns the two ways: by the builder, and by an environment variable.
fn ways(
    variable: &'static str,
    value: &'static str,
    by_builder: impl Fn(BusBuilder) -> BusBuilder + 'static,
) -> [Way; 2] {
    let by_environment = move |builder: BusBuilder| builder.settings(environment(variable, value));
    [Box::new(by_builder), Box::new(by_environment)]
}

fn environment(variable: &str, value: &str) -> BusSettings {
    settings_from(|name| (name == variable).then(|| value.to_owned())).unwrap()
}

/// Returns a bus on a store in memory, with the clock of the test runtime.
async fn bus(way: &Way) -> Bus {
    let clock = Arc::new(RuntimeClock::default());
    let store = Arc::new(Store::new(MemoryEngine::new(clock.clone())));
    way(Bus::builder(store).validator(built_in_schemas()).clock(clock)).build().await.unwrap()
}

async fn letters(bus: &Bus) -> Vec<DeadLetter> {
    let query = DeadLetterQuery { limit: 10, ..DeadLetterQuery::default() };
    bus.store().dead_letters(&query).await.unwrap()
}

/// Lets a group handle one event. Each attempt takes `takes`. Returns the number of attempts.
async fn attempts(bus: &Bus, takes: Duration, works: bool) -> u32 {
    let tried = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&tried);
    let handler = handler(move |_: &Delivery| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(takes).await;
            if works { Ok(()) } else { Err(HandlerError::retry("the mail server is gone")) }
        }
    });
    let consumer = bus.subscribe("mailer").on_everything(handler).start().await.unwrap();
    bus.publish(&event("e1", VALID)).await.unwrap();
    until_idle(&**bus.store(), "mailer").await.unwrap();
    consumer.stop().await.unwrap();
    tried.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn with_validation_what_breaks_its_schema_is_not_stored() {
    for way in ways("ENABLE_EVENT_VALIDATION", "true", |b| b.enable_validation(true)) {
        let bus = bus(&way).await;
        let refused = bus.publish(&event("e1", r#"{"email":42}"#)).await.unwrap_err();
        let PublishError::Rejected(rejection) = refused else { panic!("{refused}") };
        let broken: Vec<&str> = rejection.violations.iter().map(|v| &*v.pointer).collect();
        assert_eq!(broken, ["/data/email", "/data/registrationMethod"]);
        bus.publish(&event("e2", VALID)).await.unwrap();
        assert_eq!(bus.store().info().await.unwrap().events, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_validation_only_the_envelope_is_checked() {
    for way in ways("ENABLE_EVENT_VALIDATION", "false", |b| b.enable_validation(false)) {
        let bus = bus(&way).await;
        bus.publish(&event("e1", r#"{"email":42}"#)).await.unwrap();
        let refused = bus.publish(&event("", VALID)).await.unwrap_err();
        assert!(matches!(refused, PublishError::Rejected(_)), "{refused}");
        assert_eq!(bus.store().info().await.unwrap().events, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn with_dead_letters_what_is_given_up_on_is_kept() {
    for way in ways("ENABLE_DEAD_LETTER_QUEUE", "true", |b| b.enable_dead_letter_queue(true)) {
        let bus = bus(&way).await;
        attempts(&bus, Duration::ZERO, false).await;
        let letters = letters(&bus).await;
        let kept: Vec<_> = letters.iter().map(|l| (l.event.id(), l.group.as_str())).collect();
        assert_eq!(kept, [("e1", "mailer")]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_dead_letters_what_is_given_up_on_is_counted_and_passed() {
    for way in ways("ENABLE_DEAD_LETTER_QUEUE", "false", |b| b.enable_dead_letter_queue(false)) {
        let bus = bus(&way).await;
        assert_eq!(attempts(&bus, Duration::ZERO, false).await, 4);
        assert!(letters(&bus).await.is_empty());
        bus.close().await;
        let counted = bus.store().stats(None).await.unwrap();
        let dropped: u64 = counted.iter().filter(|sample| sample.name == DROPPED).map(|s| s.count).sum();
        assert_eq!(dropped, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_retries_an_event_is_tried_once() {
    for way in ways("MAX_EVENT_RETRIES", "0", |b| b.max_retries(0)) {
        let bus = bus(&way).await;
        assert_eq!(attempts(&bus, Duration::ZERO, false).await, 1);
        assert_eq!(letters(&bus).await[0].attempts, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn with_five_retries_an_event_is_tried_six_times() {
    for way in ways("MAX_EVENT_RETRIES", "5", |b| b.max_retries(5)) {
        let bus = bus(&way).await;
        assert_eq!(attempts(&bus, Duration::ZERO, false).await, 6);
        assert_eq!(letters(&bus).await[0].attempts, 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_longer_than_a_short_limit_has_failed() {
    for way in ways("DEFAULT_TIMEOUT", "1500", |b| b.default_timeout(Duration::from_millis(1500))) {
        let bus = bus(&way).await;
        assert_eq!(attempts(&bus, Duration::from_secs(10), true).await, 4);
        let letters = letters(&bus).await;
        let said = &letters[0].last_failure().unwrap().errors[0];
        assert!(said.contains("1.5s"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_stays_within_a_long_limit_has_worked() {
    for way in ways("DEFAULT_TIMEOUT", "5m", |b| b.default_timeout(Duration::from_secs(300))) {
        let bus = bus(&way).await;
        assert_eq!(attempts(&bus, Duration::from_secs(200), true).await, 1);
        assert!(letters(&bus).await.is_empty());
    }
}

/// A clock that tests set.
#[derive(Debug, Clone)]
struct Hands(Arc<Mutex<Timestamp>>);

impl Hands {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Timestamp::now())))
    }

    fn forward(&self, hours: u64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(Duration::from_secs(hours * 3600)).unwrap();
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// Returns a store of each kind, opened with the options for a bus with these settings.
async fn stores(folder: &tempfile::TempDir, clock: &Hands, settings: &BusSettings) -> [Arc<dyn Stores>; 2] {
    let options = || OpenOptions { clock: Arc::new(clock.clone()), ..OpenOptions::of(settings) };
    let file = format!("sqlite:{}", folder.path().join("events.db").display());
    [open_with("memory:", options()).await.unwrap(), open_with(&file, options()).await.unwrap()]
}

/// Lets a group handle all events.
async fn consume(store: &Arc<dyn Stores>, clock: &Hands, group: &str, settings: &BusSettings) {
    let builder = Bus::builder(store.clone()).validator(built_in_schemas()).clock(Arc::new(clock.clone()));
    let bus = builder.settings(settings.clone()).build().await.unwrap();
    let handler = handler(|_: &Delivery| async { Ok(()) });
    let consumer =
        bus.subscribe(group).on_everything(handler).start_at(StartAt::Earliest).start().await.unwrap();
    if group == "first" {
        for id in ["e1", "e2", "e3"] {
            bus.publish(&event(id, VALID)).await.unwrap();
        }
    }
    until_idle(&**store, group).await.unwrap();
    consumer.stop().await.unwrap();
    bus.close().await;
}

/// Runs one round of a housekeeper without rules. Returns the number of remaining events.
async fn after_housekeeping(store: &Arc<dyn Stores>, clock: &Hands) -> u64 {
    let manager = replay_manager(store, None, Arc::new(clock.clone()));
    let keeper = Housekeeper::spawn(manager, HousekeepingOptions::default());
    keeper.stop().await;
    store.info().await.unwrap().events
}

/// Returns the settings from both ways.
fn event_store(enable: bool) -> [BusSettings; 2] {
    let said = BusSettings { enable_event_store: Some(enable), ..BusSettings::default() };
    [said, environment("ENABLE_EVENT_STORE", if enable { "true" } else { "false" })]
}

#[tokio::test]
async fn with_the_event_store_delivered_events_stay() {
    for settings in event_store(true) {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Hands::new());
        for store in stores(&folder, &clock, &settings).await {
            assert_eq!(store.info().await.unwrap().keeps, RetentionMode::History);
            consume(&store, &clock, "first", &settings).await;
            clock.forward(24 * 400);
            assert_eq!(after_housekeeping(&store, &clock).await, 3);
        }
    }
}

#[tokio::test]
async fn without_the_event_store_events_go_once_all_groups_have_them_and_their_ids_may_be_forgotten() {
    for settings in event_store(false) {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Hands::new());
        for store in stores(&folder, &clock, &settings).await {
            assert_eq!(store.info().await.unwrap().keeps, RetentionMode::UntilDelivered);
            let start = store.head().await.unwrap();
            store.create_group(&GroupSpec::new("second"), &start).await.unwrap();
            consume(&store, &clock, "first", &settings).await;
            assert_eq!(after_housekeeping(&store, &clock).await, 3, "their ids are still known");
            clock.forward(25);
            assert_eq!(after_housekeeping(&store, &clock).await, 3, "the second group has none of them");
            consume(&store, &clock, "second", &settings).await;
            assert_eq!(after_housekeeping(&store, &clock).await, 0);
        }
    }
}

#[tokio::test]
async fn a_publisher_that_is_set_otherwise_than_its_namespace_is_refused() {
    for made_with in [true, false] {
        let made = BusSettings { enable_event_store: Some(made_with), ..BusSettings::default() };
        for otherwise in event_store(!made_with) {
            let (folder, clock) = (tempfile::tempdir().unwrap(), Hands::new());
            for store in stores(&folder, &clock, &made).await {
                let builder = || Bus::builder(store.clone()).validator(built_in_schemas());
                let refused = builder().settings(otherwise.clone()).build().await.unwrap_err();
                assert!(matches!(refused, BusError::RetentionModeDiffers { .. }), "{refused}");
                builder().enable_event_store(made_with).build().await.unwrap();
                builder().build().await.expect("who says nothing takes the namespace as it is");
            }
        }
    }
}

/// Prints the settings from the real environment of the process, as one line of JSON.
#[test]
#[ignore = "run as a child of the next test"]
fn a_child_says_what_its_environment_asks_for() {
    let said = match settings_from_env() {
        Ok(settings) => json!({
            "validation": settings.enable_validation,
            "eventStore": settings.enable_event_store,
            "deadLetters": settings.enable_dead_letter_queue,
            "retries": settings.max_retries,
            "timeoutMs": settings.default_timeout.as_millis() as u64,
        }),
        Err(error) => json!({ "error": error.to_string() }),
    };
    println!("\nchild: {said}");
}

/// Runs the child above with these variables.
fn child(variables: &[(&str, &str)]) -> serde_json::Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_says_what_its_environment_asks_for", "--ignored", "--nocapture"])
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = text.lines().find_map(|line| line.strip_prefix("child: ")).unwrap_or_else(|| panic!("{text}"));
    serde_json::from_str(said).unwrap()
}

#[test]
fn a_process_takes_its_settings_from_its_environment() {
    let set = [
        ("ENABLE_EVENT_VALIDATION", "false"),
        ("ENABLE_EVENT_STORE", "false"),
        ("ENABLE_DEAD_LETTER_QUEUE", "false"),
        ("MAX_EVENT_RETRIES", "7"),
        ("DEFAULT_TIMEOUT", "1500"),
    ];
    let said = json!({ "validation": false, "eventStore": false, "deadLetters": false, "retries": 7, "timeoutMs": 1500 });
    assert_eq!(child(&set), said);
    let unset = json!({ "validation": true, "eventStore": null, "deadLetters": true, "retries": 3, "timeoutMs": 30000 });
    assert_eq!(child(&[]), unset);
    let wrong = child(&[("MAX_EVENT_RETRIES", "many")]);
    assert_eq!(wrong["error"], "MAX_EVENT_RETRIES=many: it is a whole number from 0 (try once) to 1000");
}
