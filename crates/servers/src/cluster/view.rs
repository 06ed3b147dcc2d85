//! The view that a node has of the cluster: the lines of `CLUSTER NODES`.

use std::ops::RangeInclusive;

use crate::{Server, command::say};

/// Number of slots in a cluster.
pub(crate) const SLOTS: usize = 16_384;

/// The knowledge of a node about one node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) is_self: bool,
    pub(crate) is_master: bool,
    /// Whether the handshake is complete, the address is known, and the node has not failed.
    pub(crate) is_known: bool,
    /// The id of the master of a replica. Empty for a master.
    pub(crate) master: String,
    pub(crate) epoch: u64,
    slots: Vec<RangeInclusive<u16>>,
}

impl Line {
    pub(crate) fn serves(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&slot))
    }

    pub(crate) fn has_slots(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Parses `ID ADDRESS FLAGS MASTER PING PONG EPOCH LINK SLOT…`.
    fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [id, address, flags, master, _, _, epoch, _, slots @ ..] = words.as_slice() else { return None };
        let has = |wanted: &str| flags.split(',').any(|flag| flag == wanted);
        Some(Self {
            id: (*id).to_owned(),
            is_self: has("myself"),
            is_master: has("master"),
            is_known: !has("handshake") && !has("noaddr") && !has("fail") && !address.starts_with(':'),
            master: if *master == "-" { String::new() } else { (*master).to_owned() },
            epoch: epoch.parse().ok()?,
            slots: slots.iter().filter_map(|word| range(word)).collect(),
        })
    }
}

/// Parses `5` or `5-7`. Slots in brackets are in a move, and are also listed without brackets while they are served.
fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let (from, to) = word.split_once('-').unwrap_or((word, word));
    Some(from.parse().ok()?..=to.parse().ok()?)
}

/// Returns the view of a node.
pub(crate) async fn of(node: &Server) -> Result<Vec<Line>, String> {
    let text: String = say(node, &["CLUSTER", "NODES"]).await.map_err(|error| error.to_string())?;
    let line = |line: &str| Line::read(line).ok_or_else(|| format!("{node} says {line:?} of a node"));
    text.lines().map(line).collect()
}
