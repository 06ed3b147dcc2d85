//! Free ports.
//!
//! The operating system hands out ports for outgoing connections from 32768 on. A server must not listen there: while
//! it is down, a client that tries to reach it may be given that very port and meet itself, and the server does not get it
//! back. So ports are taken from below, and leave 10,000 above each for a cluster's bus.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
};

use crate::Error;

const PORTS: std::ops::Range<u16> = 10_500..20_500;

/// A port of 127.0.0.1 on which nothing listens now. Another process may take it before it is used: be ready to ask again.
pub(crate) fn free() -> Result<u16, Error> {
    let tries = 1000;
    (0..tries)
        .map(|_| fastrand::u16(PORTS))
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .ok_or_else(|| Error::io(format!("find a free port in {tries} tries"))(ErrorKind::AddrInUse.into()))
}
