//! The audit: what operators did, as a chain of entries in which none can be altered or removed unnoticed.
//!
//! Each entry carries the hash of the entry before it. An entry that is altered has another hash than the next one names; one that
//! is removed leaves a gap in the numbers. Only the newest entries could be cut off together with the count of entries, so whoever
//! wants to notice that keeps the newest number and hash elsewhere.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// How far an action is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum AuditPhase {
    /// It is about to be done.
    Begun,
    /// It was done.
    Done {
        /// The number of the entry that says that it was begun.
        begun: u64,
    },
    /// It failed. Part of it may have been done.
    Failed {
        /// The number of the entry that says that it was begun.
        begun: u64,
        /// Why.
        error: String,
    },
}

/// What an operator does or did, as it is told to the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditNote {
    /// Who, as that person or program says: it is recorded, not proven.
    pub operator: String,
    /// What, in a word or two: `groups reset`.
    pub action: String,
    /// To what: a group, a replay, a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Why, as the operator says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The hash of the plan that it follows, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    /// How far it is.
    pub phase: AuditPhase,
    /// Further facts: what was asked for when it is begun, what came of it when it is over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Value>,
}

/// An entry of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When, by the store's clock.
    pub at: Timestamp,
    /// What.
    pub note: AuditNote,
    /// The hash of the entry before it; empty for the first.
    pub previous: String,
    /// SHA-256 over all the above, in hexadecimal.
    pub hash: String,
}

impl AuditEntry {
    /// The entry that follows another; none: the first.
    pub fn after(previous: Option<&Self>, number: u64, at: Timestamp, note: AuditNote) -> Self {
        let previous = previous.map_or_else(String::new, |previous| previous.hash.clone());
        let mut entry = Self { number, at, note, previous, hash: String::new() };
        entry.hash = entry.own_hash();
        entry
    }

    /// Whether it is as it was written.
    pub fn is_unaltered(&self) -> bool {
        self.hash == self.own_hash()
    }

    fn own_hash(&self) -> String {
        let parts = (self.number, self.at, &self.note, &self.previous);
        // Nothing of it can fail to be written as JSON; an empty text would have a hash all the same.
        let text = serde_json::to_vec(&parts).unwrap_or_default();
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
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
