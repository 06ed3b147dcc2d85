//! The HTTP API: what operators and services do with a store, over HTTP.
//!
//! It is an inbound adapter beside the command line, and adds no rule of its own. Each route maps a request to a call of the
//! application layer in `event_replay::app`, and answers with the JSON document that the command line prints with
//! `--output json`.
//!
//! # Design
//! One table, [`routes`], has every route: its method, path, query parameters and handler. The router, the check of query
//! parameters and the description of the API are made from it, so they cannot differ.
//!
//! A client proves who it is by a token, and each route of the table names the role that it needs. On loopback a request may
//! come without a token. Its `Host` must name the server then, so that a web page of another site cannot reach it through a
//! name of its own.

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
mod streaming;
mod tls;

pub use openapi::openapi;
pub use options::{OptionsError, ServeOptions};
pub use serve::{ServeError, Server};
pub use tls::{TlsError, TlsFiles};
