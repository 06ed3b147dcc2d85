//! Tokens of the HTTP API. A client proves its identity with a token, and the roles of the token state the allowed
//! work.
//!
//! A token is written `er_ID_SECRET`. The store keeps the id and the SHA-256 hash of the secret, so that a copy of
//! the store gives no access.

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Permission for one kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads states and figures: groups, replays, checkpoints, schemas, statistics, health. It does not allow the
    /// reading of events.
    Read,
    /// Reads events and dead letters with their content, in addition to the work of `Read`.
    Content,
    /// Publishes events.
    Publish,
    /// Consumes any group, or only the groups that the token names.
    Consume,
    /// Replays, redrives, and changes groups, checkpoints and schemas, in addition to the work of `Read`.
    Operate,
    /// Approves plans of another operator, in addition to the work of `Read`.
    Approve,
    /// Allows all work, including work that cannot be undone: trim, erase, delete.
    Admin,
}

impl Role {
    /// Every role, the narrowest first.
    pub const ALL: &'static [Self] =
        &[Self::Read, Self::Content, Self::Publish, Self::Consume, Self::Operate, Self::Approve, Self::Admin];

    /// Returns the name of the role in flags, documents and stored tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Content => "content",
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Operate => "operate",
            Self::Approve => "approve",
            Self::Admin => "admin",
        }
    }

    /// Returns whether the role allows the work of another role.
    ///
    /// ```
    /// use event_replay_domain::token::Role;
    /// assert!(Role::Operate.allows(Role::Read) && Role::Admin.allows(Role::Publish));
    /// assert!(!Role::Operate.allows(Role::Content) && !Role::Publish.allows(Role::Read));
    /// ```
    pub fn allows(self, work: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Content | Self::Operate | Self::Approve => work == self || work == Self::Read,
            Self::Read | Self::Publish | Self::Consume => work == self,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.iter().copied().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// The text is not the name of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is read, content, publish, consume, operate, approve or admin")]
pub struct UnknownRole;

/// A token as the store keeps it: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRecord {
    /// Public part of the token, unique in a store.
    pub id: String,
    /// Name of the owner, unique in a store. The audit names operators by it.
    pub name: String,
    /// Roles of the owner.
    pub roles: BTreeSet<Role>,
    /// Groups that the owner may consume. Empty means all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Time at which the token was created.
    pub created_at: Timestamp,
    /// Operator who created the token.
    pub created_by: String,
    /// Time from which the token is refused. None: the token never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Hash of the secret, computed by [`hash_of`].
    pub secret_hash: String,
}

impl TokenRecord {
    /// Returns whether the token is accepted at a time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// Returns whether one of the token's roles allows this work.
    pub fn allows(&self, work: Role) -> bool {
        self.roles.iter().any(|role| role.allows(work))
    }

    /// Returns whether the owner may consume a group.
    pub fn may_consume(&self, group: &str) -> bool {
        self.allows(Role::Consume) && (self.groups.is_empty() || self.groups.contains(group))
    }
}

/// Returns the SHA-256 of a secret, in hexadecimal. Secrets are random and 256 bits long, so a slow hash would give
/// no further protection.
pub fn hash_of(secret: &str) -> String {
    crate::hex(&Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(roles: &[Role]) -> TokenRecord {
        TokenRecord {
            id: "a1".to_owned(),
            name: "mailer".to_owned(),
            roles: roles.iter().copied().collect(),
            groups: BTreeSet::new(),
            created_at: Timestamp::UNIX_EPOCH,
            created_by: "ann@desk".to_owned(),
            expires_at: None,
            secret_hash: hash_of("s"),
        }
    }

    #[test]
    fn roles_allow_their_own_work_and_reading_where_it_helps() {
        for role in Role::ALL {
            assert!(role.allows(*role) && Role::Admin.allows(*role), "{role}");
            assert_eq!(role.as_str().parse(), Ok(*role));
            let reads = role.allows(Role::Read);
            assert_eq!(reads, !matches!(role, Role::Publish | Role::Consume), "{role}");
            assert_eq!(role.allows(Role::Admin), *role == Role::Admin, "{role}");
        }
        assert_eq!("Read".parse::<Role>(), Err(UnknownRole));
    }

    #[test]
    fn a_token_allows_what_one_of_its_roles_does() {
        let both = token(&[Role::Publish, Role::Content]);
        assert!(both.allows(Role::Publish) && both.allows(Role::Read) && !both.allows(Role::Operate));
        assert!(!token(&[]).allows(Role::Read));
    }

    #[test]
    fn a_token_consumes_the_groups_that_it_names_or_all() {
        let mut consumer = token(&[Role::Consume]);
        assert!(consumer.may_consume("mail") && consumer.may_consume("stats"));
        consumer.groups.insert("mail".to_owned());
        assert!(consumer.may_consume("mail") && !consumer.may_consume("stats"));
        consumer.roles = [Role::Read].into();
        assert!(!consumer.may_consume("mail"));
    }

    #[test]
    fn a_token_ends_at_its_time() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut token = token(&[Role::Read]);
        assert!(token.is_valid_at(Timestamp::MAX));
        token.expires_at = Some(at(10));
        assert!(token.is_valid_at(at(9)) && !token.is_valid_at(at(10)));
    }
}
