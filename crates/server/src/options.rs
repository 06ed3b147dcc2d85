//! How the server is to run.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use thiserror::Error;

use crate::tls::TlsFiles;

/// How the server is to run.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The path before every route, such as `/er`; empty for none.
    pub base_path: String,
    /// Names by which clients may call it, beside those of loopback: what `Host` may say, without a port.
    pub hosts: Vec<String>,
    /// Whether it refuses every request that would change something.
    pub read_only: bool,
    /// The certificate with which it speaks TLS; none: it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether a proxy in front of it speaks TLS with clients. Requests come from anywhere then, so each needs a token.
    pub behind_proxy: bool,
    /// Whether clients of loopback need a token, too.
    pub require_tokens: bool,
    /// The most requests a second of each token; none: no limit.
    pub rate_limit: Option<NonZeroU32>,
}

/// Options that make no sense, or are not safe.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Tokens and events would cross the network in plain text.
    #[error("{0} is not loopback: without TLS, tokens and events would cross the network in plain text")]
    PlainText(IpAddr),
    /// The base path is no path.
    #[error("the base path {0:?} is no path: write it as /er, with a slash before it and none behind it")]
    BasePath(String),
}

impl Default for ServeOptions {
    /// On port 7070 of loopback, at the root, reading and writing.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            base_path: String::new(),
            hosts: vec![],
            read_only: false,
            tls: None,
            behind_proxy: false,
            require_tokens: false,
            rate_limit: None,
        }
    }
}

impl ServeOptions {
    /// Checks them, without looking at any store.
    ///
    /// # Errors
    /// When the address is not loopback and nothing speaks TLS, or the base path is no path.
    pub fn check(&self) -> Result<(), OptionsError> {
        if !self.listen.ip().is_loopback() && self.tls.is_none() && !self.behind_proxy {
            return Err(OptionsError::PlainText(self.listen.ip()));
        }
        let path = &self.base_path;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~/".contains(c);
        let is_path = path.is_empty()
            || (path.starts_with('/')
                && !path.ends_with('/')
                && !path.contains("//")
                && path.chars().all(is_plain));
        match is_path {
            true => Ok(()),
            false => Err(OptionsError::BasePath(path.clone())),
        }
    }

    /// Whether every request needs a token: clients of other machines can reach the server.
    pub fn needs_tokens(&self) -> bool {
        self.require_tokens || self.behind_proxy || !self.listen.ip().is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_needed_where_requests_come_from_other_machines() {
        let listen =
            |listen: &str| ServeOptions { listen: listen.parse().unwrap(), ..ServeOptions::default() };
        assert!(!listen("127.0.0.1:1").needs_tokens());
        assert!(ServeOptions { require_tokens: true, ..listen("127.0.0.1:1") }.needs_tokens());
        assert!(ServeOptions { behind_proxy: true, ..listen("127.0.0.1:1") }.needs_tokens());
        let proxied = ServeOptions { behind_proxy: true, ..listen("0.0.0.0:1") };
        assert!(proxied.needs_tokens() && proxied.check().is_ok());
        let files = TlsFiles { certificate: "a".into(), key: "b".into() };
        let secure = ServeOptions { tls: Some(files), ..listen("0.0.0.0:1") };
        assert!(secure.needs_tokens() && secure.check().is_ok());
    }

    #[test]
    fn only_loopback_is_safe_without_tls() {
        for (listen, is_safe) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("10.0.0.1:1", false),
        ] {
            let options = ServeOptions { listen: listen.parse().unwrap(), ..ServeOptions::default() };
            assert_eq!(options.check().is_ok(), is_safe, "{listen}");
        }
    }

    #[test]
    fn a_base_path_has_a_slash_before_it_and_none_behind() {
        for (path, is_path) in
            [("", true), ("/er", true), ("/a/b", true), ("er", false), ("/er/", false), ("/{x}", false)]
        {
            let options = ServeOptions { base_path: path.to_owned(), ..ServeOptions::default() };
            assert_eq!(options.check().is_ok(), is_path, "{path}");
        }
    }
}
