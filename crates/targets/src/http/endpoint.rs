//! An endpoint: a URL without its secrets, and the time limit of an answer.

use std::{fmt, io, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use thiserror::Error;
use url::Url;

/// The default time limit of an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP endpoint.
///
/// ```
/// use event_replay_targets::Endpoint;
/// let endpoint = Endpoint::parse("https://me:secret@example.com/events?token=abc").unwrap();
/// assert_eq!(endpoint.to_string(), "https://example.com/events");
/// assert!(Endpoint::parse("ftp://example.com").is_err());
/// ```
#[derive(Clone)]
pub struct Endpoint {
    pub(super) uri: Uri,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) timeout: Duration,
}

/// The reason why an endpoint cannot be used.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The text is not a URL. The error does not contain the text, which may include a password.
    #[error("the endpoint is no URL: {0}")]
    NoUrl(String),
    /// The scheme is neither http nor https.
    #[error("the endpoint's scheme is {0:?}; only http and https can be used")]
    Scheme(String),
    /// The system's certificates cannot be read.
    #[error("cannot read the system's certificates")]
    Certificates(#[source] io::Error),
}

impl Endpoint {
    /// Parses an `http://` or `https://` URL. A fragment is dropped. A user and a password become Basic authentication.
    ///
    /// # Errors
    /// Returns [`EndpointError::NoUrl`] when the text is not a URL. Returns [`EndpointError::Scheme`] for another
    /// scheme.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let mut url = Url::parse(text).map_err(|error| EndpointError::NoUrl(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EndpointError::Scheme(url.scheme().to_owned()));
        }
        let authorization = authorization(&url);
        url.set_fragment(None);
        // Both calls succeed for a URL with a host, and an http URL always has a host.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        let uri = Uri::try_from(url.as_str()).map_err(|error| EndpointError::NoUrl(error.to_string()))?;
        Ok(Self { uri, authorization, timeout: TIMEOUT })
    }

    /// Sets the time limit of an answer. The default is 30 seconds.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

/// Returns the header for Basic authentication, if the URL has a user or a password.
fn authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials = percent_decoded(url.username());
    credentials.push(b':');
    credentials.extend(percent_decoded(url.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credentials))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape =
            after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

impl fmt::Display for Endpoint {
    /// Writes the URL without user, password and query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", self.uri.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &format_args!("{self}"))
            .field("authorization", &self.authorization.is_some())
            .field("timeout", &self.timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_url_are_sent_and_never_shown() {
        let endpoint = Endpoint::parse("https://me:p%40ss@example.com:8443/a?token=abc#x").unwrap();
        assert_eq!(endpoint.uri.to_string(), "https://example.com:8443/a?token=abc");
        assert_eq!(endpoint.authorization.as_ref().unwrap(), "Basic bWU6cEBzcw==");
        let shown = format!("{endpoint} {endpoint:?} {:?}", endpoint.authorization);
        for secret in ["p%40ss", "p@ss", "bWU6", "abc", "me:"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_it() {
        for text in ["http://me:secret@", "me:secret@host", "http://me:secret@host:99999/", ""] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }
}
