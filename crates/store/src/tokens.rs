//! Tokens: one row each, by id, in partition 0. A counter guards that names are unique.

use async_trait::async_trait;
use domain::{
    StorageFailure,
    ports::{
        TokenStore,
        engine::{Guard, Read, RowId, Snapshot, Space, SpaceKind, Transaction},
    },
    token::TokenRecord,
};

use crate::{
    Store,
    rows::{TOKENS, counter, from_json, named, read_values, to_json},
};

fn row_of(id: &str) -> RowId {
    named(SpaceKind::Token, id)
}

fn read(value: &[u8]) -> Result<TokenRecord, StorageFailure> {
    from_json(value, "a token")
}

#[async_trait]
impl TokenStore for Store {
    async fn add_token(&self, token: &TokenRecord) -> Result<bool, StorageFailure> {
        let reads = [Read::Row(counter(TOKENS)), Read::all(Space::of(SpaceKind::Token))];
        let decision = |mut found: Snapshot| {
            let mut transaction = Transaction::durable();
            transaction.guard(Guard::still(counter(TOKENS), found.row().as_deref()));
            let known = read_values(found.range(), read)?;
            let is_free = known.iter().all(|other| other.id != token.id && other.name != token.name);
            if is_free {
                transaction.put(row_of(&token.id), to_json(token)?).add(counter(TOKENS), 1);
            }
            Ok((is_free, Some(transaction)))
        };
        self.first().decide(&reads, decision).await
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, StorageFailure> {
        self.first().row(row_of(id)).await?.as_deref().map(read).transpose()
    }

    async fn list_tokens(&self) -> Result<Vec<TokenRecord>, StorageFailure> {
        let mut found = self.first().all_of([Space::of(SpaceKind::Token)]).await?;
        read_values(found.range(), read)
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, StorageFailure> {
        let decision = |mut found: Snapshot| {
            let before = found.row();
            let mut transaction = Transaction::durable().even_when_full();
            transaction.guard(Guard::still(row_of(id), before.as_deref()));
            if before.is_some() {
                transaction.delete(row_of(id)).add(counter(TOKENS), 1);
            }
            Ok((before.is_some(), Some(transaction)))
        };
        self.first().decide(&[Read::Row(row_of(id))], decision).await
    }
}
