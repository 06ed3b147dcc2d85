//! A running Redis server, as a process or in a container. Tests use its URL in the same way.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::{process::Command, time::Duration};

use servers::{Binary, Config, Server};
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    core::{IntoContainerPort, WaitFor},
    runners::AsyncRunner,
};

/// The image that `tests/servers/image` builds.
const IMAGE: &str = "event-replay-redis";
const PORT: u16 = 6379;

/// A server that runs until it is dropped or stopped.
pub(crate) struct Running {
    name: String,
    url: String,
    place: Place,
}

enum Place {
    Process(Box<Server>),
    Container(Box<ContainerAsync<GenericImage>>),
}

impl Running {
    /// Starts a process on this machine.
    pub(crate) async fn process(binary: &Binary, config: &Config) -> Self {
        let server = Server::start(binary, config).await.unwrap();
        Self {
            name: format!("{binary}, a process"),
            url: server.url(),
            place: Place::Process(Box::new(server)),
        }
    }

    /// Starts a container with the installed Redis. `arguments` are added to its command line. Without Docker, prints a
    /// message and returns `None`.
    pub(crate) async fn container(arguments: &[&str]) -> Option<Self> {
        if !docker_answers() {
            println!("NOT RUN: containers, Docker does not answer");
            return None;
        }
        let always = ["--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""];
        let tag = tag();
        let container = GenericImage::new(IMAGE, &tag)
            .with_exposed_port(PORT.tcp())
            .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"))
            .with_cmd(always.iter().chain(arguments).copied())
            // With this label `tests/servers/image` finds the containers of killed tests.
            .with_label("event-replay.owner", std::process::id().to_string())
            .with_startup_timeout(Duration::from_secs(60))
            .start()
            .await
            .unwrap_or_else(|error| {
                panic!("{IMAGE}:{tag} does not start (tests/servers/image makes it): {error}")
            });
        let (host, port) =
            (container.get_host().await.unwrap(), container.get_host_port_ipv4(PORT).await.unwrap());
        let url = format!("redis://{host}:{port}");
        Some(Self {
            name: format!("redis {tag}, a container"),
            url,
            place: Place::Container(Box::new(container)),
        })
    }

    /// Starts every installed program as a process, and a container if Docker is available.
    pub(crate) async fn everywhere() -> Vec<Self> {
        let mut running = Vec::new();
        for binary in Binary::all().unwrap() {
            running.push(Self::process(&binary, &Config::default()).await);
        }
        running.extend(Self::container(&[]).await);
        running
    }

    /// The program and its place, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The URL for clients.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server, and removes its data.
    pub(crate) async fn stop(self) {
        match self.place {
            Place::Process(mut server) => server.stop().await.unwrap(),
            Place::Container(container) => container.rm().await.unwrap(),
        }
    }
}

/// Whether the Docker daemon answers. An installed client is not sufficient.
fn docker_answers() -> bool {
    let answer = Command::new("timeout").args(["20", "docker", "version"]).output();
    answer.is_ok_and(|answer| answer.status.success())
}

/// Returns the first two numbers of the program version from which the image was built.
fn tag() -> String {
    let program = Binary::at("redis-server").unwrap();
    program.version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}
