//! The progress of a replay, as server-sent events.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use event_replay::app::replays;
use tokio::time::Instant;

use crate::{
    app::App,
    call::{Answer, Call},
    problem::{Code, Problem},
    streaming::{Parts, server_sent},
};

/// How often the record is read.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a stream rests before it says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The record of a replay now, and each time that it has changed, until the replay is over.
pub(crate) async fn follow(call: Call, id: String) -> Answer {
    // A replay that does not exist is refused before the stream begins.
    let id = replays::find(&call.app.store, &id).await?.id;
    let state = Following { app: call.app, id, told: String::new(), at: Instant::now(), is_over: false };
    server_sent(state)
}

/// A stream while it runs.
struct Following {
    app: Arc<App>,
    id: String,
    /// The document that was told last.
    told: String,
    /// When something was told last.
    at: Instant,
    is_over: bool,
}

impl Parts for Following {
    const NAME: &'static str = "a replay";

    /// The next part of the stream; none once the replay is over or the server stops.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let app = Arc::clone(&self.app);
        loop {
            if self.is_over || app.is_stopping() {
                return Ok(None);
            }
            let replay = replays::find(&app.store, &self.id).await?;
            let document = serde_json::to_string(&replay).map_err(|error| {
                Problem::new(Code::Internal, format!("the replay cannot be written: {error}"))
            })?;
            if document != self.told {
                self.is_over = replay.state.is_final();
                self.at = Instant::now();
                let mut text = b"event: replay\ndata: ".to_vec();
                targets::push_safe_json(&document, &mut text);
                text.extend_from_slice(b"\n\n");
                self.told = document;
                return Ok(Some(text.into()));
            }
            if self.at.elapsed() >= HEARTBEAT {
                self.at = Instant::now();
                return Ok(Some(Bytes::from_static(b": alive\n\n")));
            }
            tokio::select! {
                () = app.stopped() => return Ok(None),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}
