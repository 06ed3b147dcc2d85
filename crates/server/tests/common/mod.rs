//! A server with its own store, on a loopback port, and a client.

// Several test programs share this module, and none uses all of it. A test fails with a panic.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;

use axum::body::Body;
use event_replay::Settings;
use event_replay_server::{ServeOptions, Server};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

/// A running server.
pub struct Service {
    pub address: SocketAddr,
    pub client: Client<HttpConnector, Body>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    folder: TempDir,
}

/// A response of the server.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Service {
    pub async fn new() -> Self {
        Self::with(ServeOptions::default()).await
    }

    pub async fn with(options: ServeOptions) -> Self {
        Self::on(tempfile::tempdir().unwrap(), options).await
    }

    /// Starts a server with the store of a folder. The store may exist.
    pub async fn on(folder: TempDir, options: ServeOptions) -> Self {
        Self::set(folder, options, |_| {}).await
    }

    /// Starts a server with changed settings.
    pub async fn set(folder: TempDir, options: ServeOptions, set: impl FnOnce(&mut Settings)) -> Self {
        let store = format!("sqlite:{}", folder.path().join("events.db").display());
        let mut settings = Settings::load(Some(&store), None).unwrap();
        set(&mut settings);
        let options = ServeOptions { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..options };
        let server = Server::start(settings, options).await.unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { address, client, stop: Some(stop), task, folder }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let answer = self.client.request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(self.url(path)).body(Body::empty()).unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Request::delete(self.url(path)).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, media: &str, body: impl Into<Body>) -> Reply {
        let request = Request::post(self.url(path)).header("content-type", media);
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn post_json(&self, path: &str, body: Value) -> Reply {
        self.post(path, "application/json", body.to_string()).await
    }

    /// Publishes events, one per line.
    pub async fn publish(&self, events: &[String]) -> Reply {
        self.post("/v1/events", "application/x-ndjson", events.join("\n")).await
    }

    /// Requests the stop of the server without waiting for it.
    pub fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops the server, and returns the folder of its store.
    pub async fn stop(mut self) -> TempDir {
        self.ask_to_stop();
        self.task.await.unwrap();
        self.folder
    }
}

impl Reply {
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Returns the problem of the response. Panics if the response is not a problem with this status and code.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem:#}");
        assert_eq!(problem["status"], status, "{problem:#}");
        assert_eq!(problem["requestId"], self.headers["x-request-id"].to_str().unwrap());
        problem
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Returns a valid `user.registered` event.
pub fn registered(id: &str, user: &str) -> String {
    format!(
        r#"{{"id":"{id}","type":"user.registered","version":"1.0","timestamp":"2024-01-15T10:30:00Z","source":"user-service","correlationId":"c-{user}","userId":"{user}","metadata":{{}},"data":{{"email":"{user}@example.com","registrationMethod":"email"}}}}"#
    )
}

/// Returns the ids of stored events.
pub fn ids(events: &Value) -> Vec<String> {
    let events = events.as_array().unwrap();
    events.iter().map(|stored| stored["event"]["id"].as_str().unwrap().to_owned()).collect()
}
