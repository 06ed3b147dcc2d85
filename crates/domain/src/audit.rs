//! The audit: a chain of entries that records the actions of operators. A changed or removed entry is detectable.
//!
//! Each entry carries the hash of the entry before it. The hash of a changed entry differs from the hash that the
//! next entry names. A removed entry leaves a gap in the numbers. One change is not detectable from the store alone:
//! the removal of the newest entries together with a matching change of the entry count. To detect that, keep the
//! newest number and hash outside the store.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Phase of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum AuditPhase {
    /// The action is about to start.
    Begun,
    /// The action is complete.
    Done {
        /// Number of the entry that recorded the start of the action.
        begun: u64,
    },
    /// The action failed. It may have been applied in part.
    Failed {
        /// Number of the entry that recorded the start of the action.
        begun: u64,
        /// Error message of the failure.
        error: String,
    },
}

/// Content of an audit entry: one action of an operator, as the caller reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditNote {
    /// Name of the person or program that acted, as the caller states it. The audit records the name and does not
    /// prove it.
    pub operator: String,
    /// Action in one or two words: `groups reset`.
    pub action: String,
    /// Object of the action: a group, a replay, a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Reason that the operator stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Hash of the plan that the action follows, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    /// Phase of the action.
    pub phase: AuditPhase,
    /// Further facts: the requested values in an entry of the start, the result in an entry of the end.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Value>,
}

/// An entry of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditEntry {
    /// Number of the entry, from 1, without gaps.
    pub number: u64,
    /// Time of the entry, by the store's clock.
    pub at: Timestamp,
    /// The recorded action.
    pub note: AuditNote,
    /// Hash of the entry before this one. Empty for the first entry.
    pub previous: String,
    /// SHA-256 over all fields above, in hexadecimal.
    pub hash: String,
}

impl AuditEntry {
    /// Returns the entry that follows `previous`. None stands for an empty chain: the entry is then the first one.
    pub fn after(previous: Option<&Self>, number: u64, at: Timestamp, note: AuditNote) -> Self {
        let previous = previous.map_or_else(String::new, |previous| previous.hash.clone());
        let mut entry = Self { number, at, note, previous, hash: String::new() };
        entry.hash = entry.own_hash();
        entry
    }

    /// Returns whether the entry still matches its hash.
    pub fn is_unaltered(&self) -> bool {
        self.hash == self.own_hash()
    }

    fn own_hash(&self) -> String {
        let parts = (self.number, self.at, &self.note, &self.previous);
        // These values always serialize to JSON. If they did not, an empty text would be hashed.
        let text = serde_json::to_vec(&parts).unwrap_or_default();
        crate::hex(&Sha256::digest(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(action: &str) -> AuditNote {
        AuditNote {
            operator: "ann@host".to_owned(),
            action: action.to_owned(),
            subject: Some("mailer".to_owned()),
            reason: None,
            plan_hash: None,
            phase: AuditPhase::Begun,
            details: BTreeMap::from([("events".to_owned(), Value::from(3))]),
        }
    }

    #[test]
    fn any_change_of_an_entry_shows_in_its_hash() {
        let first = AuditEntry::after(None, 1, Timestamp::UNIX_EPOCH, note("groups reset"));
        let second = AuditEntry::after(Some(&first), 2, Timestamp::UNIX_EPOCH, note("groups delete"));
        assert!(first.is_unaltered() && second.is_unaltered());
        assert_eq!((first.previous.as_str(), &second.previous), ("", &first.hash));
        let changes: [fn(&mut AuditEntry); 8] = [
            |entry| entry.number = 7,
            |entry| entry.at = Timestamp::MAX,
            |entry| entry.note.operator.push('x'),
            |entry| entry.note.subject = None,
            |entry| entry.note.reason = Some(String::new()),
            |entry| entry.note.phase = AuditPhase::Done { begun: 1 },
            |entry| drop(entry.note.details.insert("events".to_owned(), Value::from(4))),
            |entry| entry.previous.clear(),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut altered = second.clone();
            change(&mut altered);
            assert!(!altered.is_unaltered(), "change {number}");
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = AuditEntry::after(None, 1, Timestamp::UNIX_EPOCH, note("trim"));
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<AuditEntry>(&text).unwrap(), entry);
        let more = text.replacen('{', r#"{"by":"nobody","#, 1);
        assert!(serde_json::from_str::<AuditEntry>(&more).is_err(), "an unknown member");
    }
}
