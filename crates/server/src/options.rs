//! The options of the server.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use thiserror::Error;

use crate::tls::TlsFiles;

/// The options of the server.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The address and the port on which the server listens.
    pub listen: SocketAddr,
    /// The path before every route, such as `/er`. Empty for no prefix.
    pub base_path: String,
    /// Host names of the server beside the loopback names, without a port. `Host` may have these values.
    pub hosts: Vec<String>,
    /// Whether the server refuses every request that would change data.
    pub read_only: bool,
    /// The TLS certificate and its key. `None` means plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether a reverse proxy terminates TLS before the server. Requests can then come from any machine, so that each
    /// request needs a token.
    pub behind_proxy: bool,
    /// Whether clients on loopback need a token, too.
    pub require_tokens: bool,
    /// Maximum number of requests per second for each token. `None` means no limit.
    pub rate_limit: Option<NonZeroU32>,
}

/// The options are invalid or unsafe.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Tokens and events would cross the network in plain text.
    #[error("{0} is not loopback: without TLS, tokens and events would cross the network in plain text")]
    PlainText(IpAddr),
    /// The base path is not a valid path.
    #[error("the base path {0:?} is no path: write it as /er, with a slash before it and none behind it")]
    BasePath(String),
}

impl Default for ServeOptions {
    /// Returns the defaults: port 7070 on loopback, no base path, and reads and writes allowed.
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
    /// Checks the options without access to a store.
    ///
    /// # Errors
    /// Returns [`OptionsError::PlainText`] when the address is not loopback and neither the server nor a proxy uses
    /// TLS. Returns [`OptionsError::BasePath`] when the base path is not a valid path.
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

    /// Whether every request needs a token. This is so when an option requires tokens, or when clients on other
    /// machines can reach the server.
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
