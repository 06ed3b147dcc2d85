//! The tokens of clients.

use async_trait::async_trait;

use crate::{error::StorageFailure, token::TokenRecord};

/// Keeps tokens.
///
/// Laws:
/// - `add_token` MUST refuse an id or a name that another token has, and MUST NOT change that one, however many add at once.
/// - A token MUST come back as it was added, from every handle, until it is revoked. Trimming and erasing leave it.
/// - After `revoke_token` no handle MUST find the token. It MUST also be done where the store is full, as far as the storage
///   has room kept back.
/// - `list_tokens` MUST give every token, in the order of their ids.
/// - After [`StorageFailure::Unknown`] the change may have been made.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Adds a token; whether its id and its name were free.
    async fn add_token(&self, token: &TokenRecord) -> Result<bool, StorageFailure>;

    /// The token of an id.
    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, StorageFailure>;

    /// Every token.
    async fn list_tokens(&self) -> Result<Vec<TokenRecord>, StorageFailure>;

    /// Removes a token by its id; whether there was one.
    async fn revoke_token(&self, id: &str) -> Result<bool, StorageFailure>;
}
