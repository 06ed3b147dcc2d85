//! Redis servers of a test's own, and a network between them that can be made to fail.
//!
//! [`Binary`] finds the programs that are installed: Redis of more than one version, and Valkey. [`Server::start`]
//! runs one of them on 127.0.0.1, on a free port, with a folder of its own, as a [`Config`] says. It can be killed,
//! started again on the same port and data, stopped in its tracks and let go on. What is started is ended: when the
//! [`Server`] is dropped, and also when the test's process is killed or keeps its server in a static.
//!
//! [`Sentinels`] are a master with two replicas and three sentinels, [`Cluster`] six nodes: each of their servers can be
//! treated like that, replicas can be promoted, and a slot can be moved step by step.
//!
//! [`Proxy`] stands between a client and a server, and loses what it is told to lose.
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
