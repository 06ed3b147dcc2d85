//! The recovery of a read model: plan, dry run, replay into its group, and report. Then a recovery from a checkpoint.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use event_replay::{
    Cancel, Entity, Filter, GroupReplayOptions, JobRunner, Pace, PlanRequest, ReplayManager, ReplayReport,
    ReplayStatus, SystemClock, prelude::*,
};
use serde_json::{Map, json};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The enrolments of each user. Each event counts once, however often it is delivered.
#[derive(Default)]
struct Enrolments {
    of_user: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Enrolments {
    fn counts(&self) -> BTreeMap<String, usize> {
        let of_user = self.of_user.lock().unwrap_or_else(PoisonError::into_inner);
        of_user.iter().map(|(user, events)| (user.clone(), events.len())).collect()
    }

    fn lose(&self, user: &str) {
        self.of_user.lock().unwrap_or_else(PoisonError::into_inner).remove(user);
    }
}

#[async_trait]
impl EventHandler for Enrolments {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let event = &delivery.stored.event;
        let user = event.entities().find(|(kind, _)| *kind == "user").map(|(_, id)| id.to_owned());
        let user = user.ok_or_else(|| HandlerError::give_up("an enrolment names a user"))?;
        let mut of_user = self.of_user.lock().unwrap_or_else(PoisonError::into_inner);
        let events = of_user.entry(user).or_default();
        if !events.iter().any(|id| id == event.id()) {
            events.push(event.id().to_owned());
        }
        Ok(())
    }
}

async fn enrol(bus: &Bus, number: u32) -> Outcome {
    let event = json!({
        "id": format!("evt-{number}"),
        "type": "course.enrolled",
        "version": "1.0",
        "timestamp": "2024-01-15T10:30:00Z",
        "source": "course-service",
        "userId": format!("user-{}", number % 3),
        "courseId": format!("course-{number}"),
        "metadata": {},
        "data": { "enrollmentType": "free", "enrolledAt": "2024-01-15T10:30:00Z", "progress": 0 },
    });
    bus.publish(event.to_string().as_bytes()).await?;
    Ok(())
}

/// Replays into the group without a pause, and waits until the group has handled or given up on every event.
async fn replay(
    manager: &ReplayManager,
    request: PlanRequest,
    checkpoint: Option<&str>,
) -> Result<ReplayReport, Box<dyn std::error::Error + Send + Sync>> {
    let plan = match checkpoint {
        Some(checkpoint) => manager.recovery_plan(checkpoint, request, false, None).await?,
        None => manager.plan(request, None).await?,
    };
    let options = GroupReplayOptions { pace: Pace::Unpaced, ..GroupReplayOptions::to(["enrolments"]) };
    let replay = manager.start_group_replay(&plan, &options).await?;
    Ok(JobRunner::new(manager.clone()).run(&replay.id, &(), &Cancel::default()).await?)
}

/// Loses a user, then all enrolments since a checkpoint, and recovers both.
pub async fn run() -> Outcome {
    let bus = Bus::builder(open("memory:").await?).validator(built_in_schemas()).build().await?;
    let model = Arc::new(Enrolments::default());
    let consumer = bus.subscribe("enrolments").on("course.enrolled", model.clone()).start().await?;
    let manager = replay_manager(bus.store(), Some(built_in_schemas()), Arc::new(SystemClock));
    for number in 0..30 {
        enrol(&bus, number).await?;
    }
    until_idle(&**bus.store(), "enrolments").await?;
    let before = model.counts();
    assert_eq!(before.values().sum::<usize>(), 30);

    // One user is lost. The dry run shows the events that the replay would send, and changes nothing.
    model.lose("user-1");
    let of_user = Filter::of_entity(Entity::new("user", "user-1"));
    let request = PlanRequest { check_schemas: true, ..PlanRequest::new(of_user) };
    let plan = manager.plan(request.clone(), None).await?;
    let dry_run = plan.dry_run();
    assert_eq!((dry_run.total_events, dry_run.by_type["course.enrolled"]), (10, 10));
    assert_eq!(model.counts().get("user-1"), None);

    let report = replay(&manager, request, None).await?;
    assert_eq!((report.status, report.successful_replays), (ReplayStatus::Completed, 10));
    assert_eq!(report.plan_hash, plan.plan_hash, "what was planned is what was sent");
    assert_eq!(model.counts(), before);

    // A checkpoint marks a position. Every event after it can be recovered.
    let metadata = Map::from_iter([("reason".to_owned(), json!("before the migration"))]);
    manager.create_checkpoint("before-migration", Some("evt-29"), metadata).await?;
    for number in 30..45 {
        enrol(&bus, number).await?;
    }
    until_idle(&**bus.store(), "enrolments").await?;
    let report = replay(&manager, PlanRequest::new(Filter::default()), Some("before-migration")).await?;
    assert_eq!((report.total_events, report.successful_replays), (15, 15));
    assert_eq!(model.counts().values().sum::<usize>(), 45, "what came again counts once");
    assert_eq!(bus.store().info().await?.events, 45, "a replay stores nothing");

    consumer.stop().await?;
    bus.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome {
    Box::pin(run()).await
}
