//! Authentication of the sender of a request, and the access check of each route.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use domain::token::{Role, TokenRecord};
use event_replay::{
    StoreHandle,
    app::{self, audit::Actor, tokens},
};
use http::{HeaderMap, header};
use tokio::sync::Mutex;

use crate::{
    problem::{Code, Problem},
    routes::Route,
};

/// Time for which the server uses a cached token without a new read. The server refuses a revoked token after this
/// time.
const FRESH: Duration = Duration::from_secs(1);
/// Maximum number of cached tokens. The limit bounds the memory when requests carry invented ids.
const MOST: usize = 1024;

/// The sender of a request.
#[derive(Debug, Clone)]
pub(crate) enum Principal {
    /// A client without a token, on a server that requires none. Every route is open to it.
    Local,
    /// A client without a token, on a server that requires one.
    Unknown,
    /// The owner of a token.
    Owner(Box<TokenRecord>),
}

impl Principal {
    /// Checks whether the sender may call a route. `group` is the consumer group in the path, if the path names one.
    pub(crate) fn check(&self, route: &Route, group: Option<&str>) -> Result<(), Problem> {
        let (Some(needed), Self::Owner(_) | Self::Unknown) = (route.needs, self) else { return Ok(()) };
        let Self::Owner(token) = self else { return Err(missing()) };
        if !token.allows(needed) {
            return Err(Problem::new(
                Code::Forbidden,
                format!("the token {} does not have the role {needed}", token.name),
            ));
        }
        match group {
            Some(group) if needed == Role::Consume && !token.may_consume(group) => Err(Problem::new(
                Code::Forbidden,
                format!("the token {} may not consume the group {group}", token.name),
            )),
            _ => Ok(()),
        }
    }

    /// The actor for the audit.
    pub(crate) fn actor(&self) -> Actor {
        match self {
            Self::Owner(token) => Actor { operator: token.name.clone(), reason: None },
            Self::Local | Self::Unknown => {
                let process = Actor::of_process(None, None);
                Actor { operator: format!("{} over HTTP", process.operator), ..process }
            }
        }
    }

    /// A key that identifies the sender: the id of its token. The key is empty for a sender without a token.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Owner(token) => &token.id,
            Self::Local | Self::Unknown => "",
        }
    }

    /// Whether the sender has no token on a server that requires none. Only the listen address then protects the
    /// server.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Local)
    }
}

fn missing() -> Problem {
    Problem::new(Code::Unauthorized, "this route needs a token")
        .hint("send the header Authorization: Bearer TOKEN; `event-replay tokens create` makes one")
        .header(header::WWW_AUTHENTICATE, "Bearer")
}

fn refused(why: &str) -> Problem {
    Problem::new(Code::Unauthorized, why).header(header::WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#)
}

/// A cache of the tokens of a store. An entry is used for at most one second.
pub(crate) struct Tokens {
    /// Whether the server refuses a request without a token.
    required: bool,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    token: Option<TokenRecord>,
    at: Instant,
}

impl Tokens {
    /// Creates an empty cache. A token is read from the store at its first use.
    pub(crate) fn new(required: bool) -> Self {
        Self { required, known: Mutex::default() }
    }

    /// Returns the sender of a request, by its `Authorization` header.
    pub(crate) async fn principal(
        &self,
        store: &StoreHandle,
        headers: &HeaderMap,
    ) -> Result<Principal, Problem> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let text = match (given.next(), given.next()) {
            (None, _) if self.required => return Ok(Principal::Unknown),
            (None, _) => return Ok(Principal::Local),
            (Some(one), None) => one.to_str().unwrap_or_default(),
            (Some(_), Some(_)) => return Err(refused("a request has one header Authorization")),
        };
        let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((id, secret)) = token.and_then(|(_, token)| tokens::parts_of(token.trim())) else {
            return Err(refused("the header Authorization has no token: it is Bearer er_ID_SECRET"));
        };
        // All reasons have the same text, so that a wrong secret reveals nothing about the id.
        let unknown = || refused("the token is unknown, revoked or expired");
        let token = self.token(store, id).await?.ok_or_else(unknown)?;
        let is_valid = tokens::is_secret_of(&token, secret) && token.is_valid_at(app::clock().now());
        if is_valid { Ok(Principal::Owner(Box::new(token))) } else { Err(unknown()) }
    }

    async fn token(&self, store: &StoreHandle, id: &str) -> Result<Option<TokenRecord>, Problem> {
        let mut known = self.known.lock().await;
        if let Some(found) = known.get(id).filter(|found| found.at.elapsed() < FRESH) {
            return Ok(found.token.clone());
        }
        // The lock is released during the read, so that no request waits for the read of another request.
        drop(known);
        let token = store.token(id).await?;
        known = self.known.lock().await;
        if known.len() >= MOST {
            known.retain(|_, found| found.at.elapsed() < FRESH);
        }
        if known.len() < MOST {
            known.insert(id.to_owned(), Known { token: token.clone(), at: Instant::now() });
        }
        Ok(token)
    }
}
