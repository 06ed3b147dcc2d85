//! The tokens of HTTP API clients: create, list, revoke, and verify.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::token::{Role, TokenRecord, hash_of};
use jiff::Timestamp;
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::{
    audit::{Action, Actor, audited, facts},
    error::{AppError, Conflict, InvalidRequest, NotFound},
    near::near,
    store::clock,
};
use crate::handle::StoreHandle;

/// The prefix of every token. Secret scanners recognise tokens by it.
const PREFIX: &str = "er_";
/// Random bytes of an id.
const ID_BYTES: usize = 6;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// A token to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewToken {
    /// The name of the owner.
    pub name: String,
    /// The roles of the owner.
    pub roles: BTreeSet<Role>,
    /// The groups that the owner may consume. Empty: all.
    pub groups: BTreeSet<String>,
    /// The instant at which the token expires. `None`: never.
    pub expires_at: Option<Timestamp>,
}

/// A token as a JSON document, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenDocument {
    /// The id, which is public.
    pub id: String,
    /// The name of the owner.
    pub name: String,
    /// The roles of the owner.
    pub roles: BTreeSet<Role>,
    /// The groups that the owner may consume. Empty: all.
    pub groups: BTreeSet<String>,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The operator who created the token.
    pub created_by: String,
    /// The instant at which the token expires.
    pub expires_at: Option<Timestamp>,
    /// Whether the token has expired.
    pub expired: bool,
}

/// A created token. Its secret is never shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CreatedToken {
    /// The whole token, with its secret.
    pub token: String,
    /// The document without the secret.
    #[serde(flatten)]
    pub document: TokenDocument,
}

impl TokenDocument {
    fn of(record: TokenRecord, now: Timestamp) -> Self {
        let expired = !record.is_valid_at(now);
        let TokenRecord { id, name, roles, groups, created_at, created_by, expires_at, secret_hash: _ } =
            record;
        Self { id, name, roles, groups, created_at, created_by, expires_at, expired }
    }
}

/// Creates a token.
///
/// # Errors
/// Returns [`AppError`] when the token has no role, when its name is taken, or when its expiry or its groups are not
/// valid. Also returns it when the store or the random number generator fails.
pub async fn create(store: &StoreHandle, by: &Actor, new: NewToken) -> Result<CreatedToken, AppError> {
    let now = clock().now();
    check(&new, now)?;
    let action = Action::new("tokens create")
        .to(&new.name)
        .with("roles", new.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>())
        .with("expiresAt", new.expires_at.map(|end| end.to_string()));
    let creating = async {
        let secret = URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()?);
        let record = TokenRecord {
            id: domain::hex(&random::<ID_BYTES>()?),
            name: new.name,
            roles: new.roles,
            groups: new.groups,
            created_at: now,
            created_by: by.operator.clone(),
            expires_at: new.expires_at,
            secret_hash: hash_of(&secret),
        };
        if !store.add_token(&record).await? {
            return Err(AppError::from(Conflict::TokenExists { name: record.name }));
        }
        let token = format!("{PREFIX}{}_{secret}", record.id);
        Ok(CreatedToken { token, document: TokenDocument::of(record, now) })
    };
    audited(store, by, action, creating, |made| facts([("id", made.document.id.clone().into())])).await
}

fn check(new: &NewToken, now: Timestamp) -> Result<(), InvalidRequest> {
    if new.roles.is_empty() {
        return Err(InvalidRequest::NoRoles);
    }
    if !new.groups.is_empty() && !new.roles.contains(&Role::Consume) {
        return Err(InvalidRequest::GroupsWithoutConsuming);
    }
    match new.expires_at {
        Some(end) if end <= now => Err(InvalidRequest::ExpiredToken(end)),
        _ => Ok(()),
    }
}

fn random<const N: usize>() -> Result<[u8; N], AppError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| AppError::Random(error.to_string()))?;
    Ok(bytes)
}

/// Returns all tokens, by name.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn list(store: &StoreHandle) -> Result<Vec<TokenDocument>, AppError> {
    let now = clock().now();
    let mut tokens = store.list_tokens().await?;
    tokens.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tokens.into_iter().map(|token| TokenDocument::of(token, now)).collect())
}

/// Revokes a token by its name or id. Returns its document.
///
/// # Errors
/// Returns [`AppError`] when the token does not exist, or when the store fails.
pub async fn revoke(store: &StoreHandle, by: &Actor, name_or_id: &str) -> Result<TokenDocument, AppError> {
    let mut tokens = store.list_tokens().await?;
    let is_it = |token: &TokenRecord| token.id == name_or_id || token.name == name_or_id;
    let Some(at) = tokens.iter().position(is_it) else {
        let near = near(name_or_id, tokens.iter().map(|token| token.name.as_str()));
        return Err(NotFound::Token { name: name_or_id.to_owned(), near }.into());
    };
    let token = tokens.swap_remove(at);
    let action = Action::new("tokens revoke").to(&token.name).with("id", token.id.clone());
    let revoking = async { store.revoke_token(&token.id).await.map_err(AppError::from) };
    audited(store, by, action, revoking, |revoked| facts([("revoked", (*revoked).into())])).await?;
    Ok(TokenDocument::of(token, clock().now()))
}

/// Splits a token into its id and its secret. Returns `None` for a text that is not a token.
pub fn parts_of(token: &str) -> Option<(&str, &str)> {
    token.strip_prefix(PREFIX)?.split_once('_')
}

/// Returns whether a secret belongs to the token. The comparison runs in constant time, so its duration reveals nothing
/// about the secret.
pub fn is_secret_of(record: &TokenRecord, secret: &str) -> bool {
    hash_of(secret).as_bytes().ct_eq(record.secret_hash.as_bytes()).into()
}

/// Returns the instant after the given time from now, for the expiry of a token.
///
/// # Errors
/// Returns [`jiff::Error`] when the instant is beyond the last one that can be represented.
pub fn expiry(after: Duration) -> Result<Timestamp, jiff::Error> {
    clock().now().checked_add(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, Settings, app::open_store};

    async fn store() -> StoreHandle {
        let settings = Settings::load(Some("memory:"), None).unwrap();
        open_store(&settings, Access::Create).await.unwrap()
    }

    fn actor() -> Actor {
        Actor { operator: "ann@desk".to_owned(), reason: None }
    }

    fn new(name: &str, roles: &[Role]) -> NewToken {
        NewToken { name: name.to_owned(), roles: roles.iter().copied().collect(), ..NewToken::default() }
    }

    #[tokio::test]
    async fn a_token_is_recognised_by_its_secret_and_kept_without_it() {
        let store = store().await;
        let made = create(&store, &actor(), new("mailer", &[Role::Consume])).await.unwrap();
        let (id, secret) = parts_of(&made.token).unwrap();
        let record = store.token(id).await.unwrap().unwrap();
        assert!(is_secret_of(&record, secret) && secret.len() == 43);
        assert!(!is_secret_of(&record, &secret[1..]) && !is_secret_of(&record, ""));
        assert!(!serde_json::to_string(&record).unwrap().contains(secret));
        let listed = list(&store).await.unwrap();
        assert_eq!(listed, [made.document]);
        let other = create(&store, &actor(), new("other", &[Role::Read])).await.unwrap();
        assert_ne!(parts_of(&other.token).unwrap().1, secret);
    }

    #[tokio::test]
    async fn a_token_that_makes_no_sense_is_refused() {
        let store = store().await;
        let by = actor();
        let refused = |new| create(&store, &by, new);
        let error = refused(new("a", &[])).await.unwrap_err().to_string();
        assert_eq!(error, "a token needs a role");
        let groups = ["mail".to_owned()].into();
        let limited = NewToken { groups, ..new("a", &[Role::Publish]) };
        assert!(matches!(
            refused(limited).await,
            Err(AppError::Invalid(InvalidRequest::GroupsWithoutConsuming))
        ));
        let past = NewToken { expires_at: Some(Timestamp::UNIX_EPOCH), ..new("a", &[Role::Read]) };
        assert!(matches!(refused(past).await, Err(AppError::Invalid(InvalidRequest::ExpiredToken(_)))));
        assert!(list(&store).await.unwrap().is_empty());
        refused(new("a", &[Role::Read])).await.unwrap();
        let error = refused(new("a", &[Role::Read])).await.unwrap_err().to_string();
        assert_eq!(error, "there is a token \"a\" already; nothing was changed");
    }

    #[tokio::test]
    async fn a_token_is_revoked_by_name_or_id() {
        let store = store().await;
        let made = create(&store, &actor(), new("mailer", &[Role::Read])).await.unwrap();
        create(&store, &actor(), new("stats", &[Role::Read])).await.unwrap();
        let error = revoke(&store, &actor(), "mialer").await.unwrap_err();
        let AppError::NotFound(NotFound::Token { near, .. }) = error else { panic!("{error}") };
        assert_eq!(near, ["mailer"]);
        revoke(&store, &actor(), &made.document.id).await.unwrap();
        revoke(&store, &actor(), "stats").await.unwrap();
        assert!(list(&store).await.unwrap().is_empty());
    }

    #[test]
    fn a_text_that_is_not_a_token_has_no_parts() {
        assert_eq!(parts_of("er_a1_b_c"), Some(("a1", "b_c")));
        for text in ["", "er_", "er_a1", "a1_b", "Bearer er_a1_b"] {
            assert_eq!(parts_of(text), None, "{text}");
        }
    }
}
