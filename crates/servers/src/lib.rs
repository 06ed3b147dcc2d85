//! Redis servers for tests, and a network proxy that injects failures.
//!
//! [`Binary`] finds the installed programs: several versions of Redis, and Valkey. [`Server::start`] runs a program on
//! 127.0.0.1 with a free port, its own folder, and a [`Config`]. A server can be killed, restarted on the same port and
//! data, paused and resumed. Each server ends when its [`Server`] is dropped. It also ends when the process of the test
//! is killed, or when the test keeps the server in a static.
//!
//! [`Sentinels`] are a master with two replicas and three sentinels. A [`Cluster`] has six nodes. Each of their servers
//! has the same operations. Replicas can be promoted, and a slot can be moved step by step.
//!
//! [`Proxy`] forwards bytes between a client and a server, and loses bytes or connections on request.
//!
//! Only tests and benchmarks use this crate.

mod binary;
mod certificates;
mod cluster;
mod command;
mod config;
mod error;
mod guardian;
mod ports;
mod proxy;
mod ready;
mod sentinels;
mod server;

pub use binary::Binary;
pub use certificates::Certificates;
pub use cluster::{Cluster, Failover, SlotMove};
pub use config::{Aof, ClientCertificates, Config, MaxMemory, Tls};
pub use error::Error;
pub use proxy::{Direction, Proxy};
pub use sentinels::Sentinels;
pub use server::Server;
