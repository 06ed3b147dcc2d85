//! The port of clients' tokens.

use async_trait::async_trait;

use crate::{error::StorageFailure, token::TokenRecord};

/// Keeps tokens.
///
/// Laws:
/// - `add_token` MUST refuse an id or a name that another token has. It MUST NOT change that other token, for any
///   number of concurrent calls.
/// - A token MUST be returned as it was added, from every handle, until it is revoked. Trimming and erasing do not
///   change it.
/// - After `revoke_token`, no handle MUST find the token. The call MUST also succeed in a full store, as far as the
///   storage has room in reserve.
/// - `list_tokens` MUST return every token, in the order of their ids.
/// - After [`StorageFailure::Unknown`], the change may have been made.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Adds a token. Returns whether its id and its name were free.
    async fn add_token(&self, token: &TokenRecord) -> Result<bool, StorageFailure>;

    /// Returns the token of an id.
    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, StorageFailure>;

    /// Returns every token.
    async fn list_tokens(&self) -> Result<Vec<TokenRecord>, StorageFailure>;

    /// Removes a token by its id. Returns whether there was one.
    async fn revoke_token(&self, id: &str) -> Result<bool, StorageFailure>;
}
