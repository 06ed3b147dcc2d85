//! A service in about ten lines: open the log, subscribe, handle, publish.

use event_replay::prelude::*;
use tokio::sync::mpsc;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const REGISTERED: &[u8] =
    br#"{"id":"evt-1","type":"user.registered","version":"1.0","timestamp":"2024-01-15T10:30:00Z",
    "source":"user-service","userId":"user-123","metadata":{},
    "data":{"email":"ann@example.com","registrationMethod":"email"}}"#;

/// The service. It welcomes whoever registers.
async fn serve(location: &str, welcomes: mpsc::UnboundedSender<String>) -> Outcome {
    let settings = settings_from_env()?;
    let store = open_with(location, OpenOptions::of(&settings)).await?;
    let bus = Bus::builder(store).validator(built_in_schemas()).settings(settings).build().await?;
    let welcome = handler(move |delivery: &Delivery| {
        let welcomed = welcomes.send(delivery.stored.event.id().to_owned());
        async move { Ok(welcomed?) }
    });
    let consumer = bus.subscribe("welcome").on("user.registered", welcome).start().await?;
    bus.publish(REGISTERED).await?;
    until_idle(&**bus.store(), "welcome").await?;
    consumer.stop().await?;
    bus.close().await;
    Ok(())
}

/// Runs it twice on one file: the second time the log has the event, and the group has handled it.
pub async fn run() -> Outcome {
    let folder = tempfile::tempdir()?;
    let location = format!("sqlite:{}", folder.path().join("events.db").display());
    for expected in [Some("evt-1"), None] {
        let (welcomes, mut welcomed) = mpsc::unbounded_channel();
        serve(&location, welcomes).await?;
        assert_eq!(welcomed.recv().await.as_deref(), expected);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome {
    run().await
}
