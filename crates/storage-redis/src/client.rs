//! Access to servers: addresses, connections, and calls that continue when servers change their roles.

pub(crate) mod address;
pub(crate) mod call;
pub(crate) mod cluster;
pub(crate) mod connect;
pub(crate) mod failure;
pub(crate) mod link;
pub(crate) mod node;
pub(crate) mod optimistic_retry;
pub(crate) mod reply;
pub(crate) mod sentinel;
pub(crate) mod single_flight;
pub(crate) mod slot;
pub(crate) mod tap;
