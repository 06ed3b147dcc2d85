//! Free ports.
//!
//! The operating system assigns ports from 32768 upwards to outgoing connections. A server must not listen there. While
//! the server is down, a client that connects to its port may get this port as its local port, and connect to itself.
//! The server then cannot reuse its port. The chosen ports are therefore lower. Port plus 10,000, the default port of a
//! cluster bus, is lower too.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
};

use crate::Error;

const PORTS: std::ops::Range<u16> = 10_500..20_500;

/// Returns a port of 127.0.0.1 on which no process listens now. Another process may take the port before its use, so
/// callers must be ready to try again.
pub(crate) fn free() -> Result<u16, Error> {
    let tries = 1000;
    (0..tries)
        .map(|_| fastrand::u16(PORTS))
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .ok_or_else(|| Error::io(format!("find a free port in {tries} tries"))(ErrorKind::AddrInUse.into()))
}
