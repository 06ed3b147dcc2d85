//! Guards of requests: the check of the host, the check of the origin site, and the request id.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, uri::Authority};
use uuid::Uuid;

use crate::{
    options::ServeOptions,
    problem::{Code, Problem},
};

/// The header with the id of a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header in which a browser states the site that sent the request.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Maximum length of a request id from a client, in bytes.
const LONGEST_ID: usize = 64;

/// Returns the id of the request. A plain id from the client is used, otherwise the server creates a new id.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |text: &&str| {
        (1..=LONGEST_ID).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_plain);
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Refuses a request with a host name that does not belong to this server. This prevents DNS rebinding: a web page of
/// another site calls this server by a name that its owner points to loopback. `Host` then contains that name.
pub(crate) fn check_host(headers: &HeaderMap, options: &ServeOptions) -> Result<(), Problem> {
    let mut given = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (given.next(), given.next()) else {
        return Err(Problem::new(Code::BadRequest, "a request names one host, in the header Host"));
    };
    let authority = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    let name = authority.as_ref().map_or("", |authority| authority.host());
    let is_loopback = name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match is_loopback || options.hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        true => Ok(()),
        false => Err(Problem::new(
            Code::Misdirected,
            "the header Host names a host that this server does not answer for",
        )
        .hint("call it as localhost, or start it with --host NAME")),
    }
}

/// Refuses an unsafe request from a web page of another site. Programs send neither of the two headers.
pub(crate) fn check_site(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    let is_own = match site {
        Some(b"same-origin" | b"none") => true,
        Some(_) => false,
        None => is_own_origin(headers),
    };
    match is_own {
        true => Ok(()),
        false => Err(Problem::new(Code::CrossSite, "a page of another site sent this request")),
    }
}

/// Older browsers send `Origin` and not `Sec-Fetch-Site`.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    origin.is_some_and(|(_, authority)| Some(authority) == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_hosts_of_loopback_and_those_that_are_named_are_answered_for() {
        let options = ServeOptions { hosts: vec!["events.internal".to_owned()], ..ServeOptions::default() };
        for (host, is_own) in [
            ("localhost:7070", true),
            ("LOCALHOST", true),
            ("127.0.0.1:7070", true),
            ("[::1]:7070", true),
            ("events.internal:80", true),
            ("evil.example:7070", false),
            ("localhost.evil.example", false),
            ("10.0.0.1", false),
            ("", false),
            ("a b", false),
        ] {
            let checked = check_host(&headers(&[(header::HOST, host)]), &options);
            assert_eq!(checked.is_ok(), is_own, "{host}");
        }
        assert!(check_host(&headers(&[]), &options).is_err());
        let two = headers(&[(header::HOST, "localhost")]);
        let mut two = two;
        two.append(header::HOST, HeaderValue::from_static("localhost"));
        assert_eq!(check_host(&two, &options).unwrap_err().code(), Code::BadRequest);
    }

    #[test]
    fn a_page_of_another_site_cannot_change_anything() {
        for (pairs, is_own) in [
            (vec![], true),
            (vec![(FETCH_SITE, "same-origin")], true),
            (vec![(FETCH_SITE, "cross-site")], false),
            (vec![(FETCH_SITE, "same-site")], false),
            (vec![(header::HOST, "localhost:1"), (header::ORIGIN, "http://localhost:1")], true),
            (vec![(header::HOST, "localhost:1"), (header::ORIGIN, "http://localhost:2")], false),
            (vec![(header::HOST, "localhost:1"), (header::ORIGIN, "null")], false),
        ] {
            let headers = headers(&pairs);
            assert_eq!(check_site(&Method::POST, &headers).is_ok(), is_own, "{pairs:?}");
            assert!(check_site(&Method::GET, &headers).is_ok());
        }
    }

    #[test]
    fn an_id_that_could_tear_a_log_is_not_taken_over() {
        assert_eq!(request_id(&headers(&[(REQUEST_ID, "abc-1")])), "abc-1");
        for given in ["a b", "", "<x>", "a\tb"] {
            assert_ne!(request_id(&headers(&[(REQUEST_ID, given)])), given);
        }
    }
}
