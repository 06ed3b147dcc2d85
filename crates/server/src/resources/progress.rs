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

/// Interval between two reads of the record.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Idle time after which a stream sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Sends the record of a replay, and sends it again after each change, until the replay is finished.
pub(crate) async fn follow(call: Call, id: String) -> Answer {
    // An unknown replay is refused before the stream begins.
    let id = replays::find(&call.app.store, &id).await?.id;
    let state = Following { app: call.app, id, told: String::new(), at: Instant::now(), is_over: false };
    server_sent(state)
}

/// The state of a running stream.
struct Following {
    app: Arc<App>,
    id: String,
    /// The last document that the stream sent.
    told: String,
    /// The time of the last document or heartbeat.
    at: Instant,
    is_over: bool,
}

impl Parts for Following {
    const NAME: &'static str = "a replay";

    /// Returns the next part of the stream. Returns `None` when the replay is finished or the server begins to stop.
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
