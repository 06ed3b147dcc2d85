//! The HTTP API, through which operators and services use a store.
//!
//! The crate is an inbound adapter like the command line, and adds no rule. Each route maps a request to a call of the
//! application layer in `event_replay::app`. The response is the JSON document that the command line prints with
//! `--output json`.
//!
//! # Design
//! One table, [`routes`], contains every route: its method, path, query parameters and handler. The router, the check
//! of query parameters and the OpenAPI description are derived from the table. They therefore cannot differ.
//!
//! A client authenticates with a token, and each route of the table names the role that it requires. On loopback a
//! request may have no token. Its `Host` must then name the server. Otherwise a web page of another site could reach
//! the server through its own host name.

mod access;
mod answer;
mod app;
mod body;
mod call;
mod cloudevents;
mod consuming;
mod guard;
mod listener;
mod openapi;
mod options;
mod problem;
mod query;
mod rate;
mod repeats;
mod resources;
mod router;
pub mod routes;
mod serve;
mod shape;
mod streaming;
mod tags;
mod tls;

pub use openapi::openapi;
pub use options::{OptionsError, ServeOptions};
pub use serve::{ServeError, Server};
pub use tls::{TlsError, TlsFiles};
