//! What was answered, held against the log as plain commands find it.

use std::collections::{BTreeMap, HashMap};

/// Sequences of one log epoch.
const EPOCH: u64 = 1 << 32;

/// Every event that was answered as stored, with its sequence.
#[derive(Debug, Default, Clone)]
pub(crate) struct Books {
    answered: Vec<(String, u64)>,
}

/// The log as it is: ids by sequence, and where each log epoch that is over ended.
#[derive(Debug, Default, Clone)]
pub(crate) struct Log {
    events: BTreeMap<u64, String>,
    /// The last sequence of each, and where the one after it began.
    ends: Vec<(u64, u64)>,
    pub(crate) epoch: u64,
}

/// What the books show.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Answers that are in the log.
    pub(crate) kept: usize,
    /// Answers that went with the end of a log epoch.
    pub(crate) lost: usize,
}

impl Books {
    pub(crate) fn answered(&mut self, id: &str, sequence: u64) {
        self.answered.push((id.to_owned(), sequence));
    }

    /// Some of the events, by their ids.
    pub(crate) fn some(&self) -> Vec<String> {
        let one = |_| fastrand::choice(&self.answered).map(|(id, _)| id.clone());
        let some: std::collections::BTreeSet<String> = (0..6).filter_map(one).collect();
        some.into_iter().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.answered.len()
    }

    /// Holds them against the log: every answer is there, or was lost as a part of the end that its log epoch is known to
    /// have lost; nothing is there twice, and no place was given to two events.
    pub(crate) fn check(&self, log: &Log) -> Result<Settled, String> {
        let mut places: HashMap<&str, u64> = HashMap::new();
        for (sequence, id) in &log.events {
            if let Some(other) = places.insert(id, *sequence) {
                return Err(format!("{id} is at {other} and at {sequence}"));
            }
        }
        let mut given: HashMap<u64, &str> = HashMap::new();
        let mut settled = Settled { kept: 0, lost: 0 };
        for (id, sequence) in &self.answered {
            if let Some(other) = given.insert(*sequence, id)
                && other != id
            {
                return Err(format!("{sequence} was given to {other} and to {id}"));
            }
            if log.events.get(sequence) == Some(id) {
                settled.kept += 1;
                continue;
            }
            if log.end_before(*sequence).is_none() {
                let before = log.events.range(..sequence).next_back();
                let after = log.events.range(sequence..).next();
                return Err(format!(
                    "{id} was answered at {sequence} and is not there; no epoch lost it: the epochs before {} ended at {:?}, \
                     and there are {before:?} and {after:?}",
                    log.epoch, log.ends
                ));
            }
            settled.lost += 1;
        }
        for sequence in log.events.keys() {
            if let Some(end) = log.end_before(*sequence) {
                return Err(format!("{sequence} is beyond {end}, the end of its log epoch"));
            }
        }
        Ok(settled)
    }
}

impl Log {
    /// From the state of the partition.
    pub(crate) fn new(meta: &HashMap<String, String>) -> Self {
        let ends = meta.get("ends").map(String::as_str).unwrap_or_default();
        let end = |part: &str| {
            let mut numbers = part.split(':').skip(1).map(|number| number.parse().unwrap());
            Some((numbers.next()?, numbers.next().expect("where the next epoch began")))
        };
        Self {
            events: BTreeMap::new(),
            ends: ends.split(',').filter_map(end).collect(),
            epoch: meta["epoch"].parse().unwrap(),
        }
    }

    /// The end of the log epoch that lost a sequence; none where none is known to have.
    fn end_before(&self, sequence: u64) -> Option<u64> {
        let lost = self.ends.iter().find(|(end, next)| (end + 1..*next).contains(&sequence));
        lost.map(|(end, _)| *end)
    }

    /// Adds an entry of the log.
    pub(crate) fn add(&mut self, entry: &str, json: &[u8]) {
        let event: serde_json::Value = serde_json::from_slice(json).unwrap();
        let sequence = entry.split('-').next().unwrap().parse().unwrap();
        assert_eq!(self.events.insert(sequence, event["id"].as_str().unwrap().to_owned()), None);
    }

    /// Takes an entry away: for showing that this is noticed.
    pub(crate) fn forget(&mut self, id: &str) {
        self.events.retain(|_, own| own != id);
    }
}

/// The books notice what they are for.
#[test]
fn books_that_are_wrong_are_noticed() {
    let meta = |ends: &str| {
        HashMap::from([("ends".to_owned(), ends.to_owned()), ("epoch".to_owned(), "2".to_owned())])
    };
    let json = |id: &str| format!("{{\"id\":\"{id}\"}}").into_bytes();
    let mut log = Log::new(&meta(&format!("1:3:{EPOCH},")));
    for (n, id) in ["a", "b", "c"].iter().enumerate() {
        log.add(&format!("{}-0", n + 1), &json(id));
    }
    log.add(&format!("{}-0", EPOCH + 1), &json("d"));
    let mut books = Books::default();
    for (id, at) in [("a", 1), ("b", 2), ("c", 3), ("x", 4), ("d", EPOCH + 1)] {
        books.answered(id, at);
    }
    assert_eq!(books.check(&log), Ok(Settled { kept: 4, lost: 1 }));

    // Out of the midst, or out of the epoch that goes on.
    for id in ["b", "d"] {
        let mut holed = log.clone();
        holed.forget(id);
        assert!(books.check(&holed).unwrap_err().contains("is not there"));
    }
    let mut doubled = log.clone();
    doubled.add(&format!("{}-0", EPOCH + 2), &json("a"));
    assert!(books.check(&doubled).unwrap_err().contains("a is at 1 and at"));
    let mut beyond = log.clone();
    beyond.add("9-0", &json("e"));
    assert!(books.check(&beyond).unwrap_err().contains("beyond"));
    books.answered("e", 3);
    assert!(books.check(&log).unwrap_err().contains("was given to"));
}
