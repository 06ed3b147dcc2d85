//! A Redis server that runs, as a process or in a container: tests take its URL and need not know.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::{process::Command, time::Duration};

use servers::{Binary, Config, Server};
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    core::{IntoContainerPort, WaitFor},
    runners::AsyncRunner,
};

/// What `tests/servers/image` makes.
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
    /// A process of this machine.
    pub(crate) async fn process(binary: &Binary, config: &Config) -> Self {
        let server = Server::start(binary, config).await.unwrap();
        Self {
            name: format!("{binary}, a process"),
            url: server.url(),
            place: Place::Process(Box::new(server)),
        }
    }

    /// A container with the installed Redis, its command line ending with `arguments`. Where Docker does not answer there
    /// is none, which is printed.
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
            // By this `tests/servers/image` knows what a killed test has left behind.
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

    /// One of each: every installed program as a process, and a container where Docker answers.
    pub(crate) async fn everywhere() -> Vec<Self> {
        let mut running = Vec::new();
        for binary in Binary::all().unwrap() {
            running.push(Self::process(&binary, &Config::default()).await);
        }
        running.extend(Self::container(&[]).await);
        running
    }

    /// What runs, and where, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends it, and removes what it has written.
    pub(crate) async fn stop(self) {
        match self.place {
            Place::Process(mut server) => server.stop().await.unwrap(),
            Place::Container(container) => container.rm().await.unwrap(),
        }
    }
}

/// A client that is installed is not enough: there must be a daemon behind it.
fn docker_answers() -> bool {
    let answer = Command::new("timeout").args(["20", "docker", "version"]).output();
    answer.is_ok_and(|answer| answer.status.success())
}

/// The first two numbers of the version of the program that the image was made of.
fn tag() -> String {
    let program = Binary::at("redis-server").unwrap();
    program.version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}
