//! Compares the answers to writers with the log, as plain commands find it.

use std::collections::{BTreeMap, HashMap};

/// The number of sequences of one log epoch.
const EPOCH: u64 = 1 << 32;

/// Every event that was answered as stored, with its sequence.
#[derive(Debug, Default, Clone)]
pub(crate) struct Books {
    answered: Vec<(String, u64)>,
}

/// The stored log: ids by sequence, and the end of each past log epoch.
#[derive(Debug, Default, Clone)]
pub(crate) struct Log {
    events: BTreeMap<u64, String>,
    /// The last sequence of each past epoch, and the beginning of the next.
    ends: Vec<(u64, u64)>,
    pub(crate) epoch: u64,
}

/// The result of the comparison.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The number of answered events that are in the log.
    pub(crate) kept: usize,
    /// The number of answered events that were lost with the end of a log epoch.
    pub(crate) lost: usize,
}

impl Books {
    pub(crate) fn answered(&mut self, id: &str, sequence: u64) {
        self.answered.push((id.to_owned(), sequence));
    }

    /// Returns some of the events, by their ids.
    pub(crate) fn some(&self) -> Vec<String> {
        let one = |_| fastrand::choice(&self.answered).map(|(id, _)| id.clone());
        let some: std::collections::BTreeSet<String> = (0..6).filter_map(one).collect();
        some.into_iter().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.answered.len()
    }

    /// Compares the answers with the log. Every answered event is stored, or is in the part that its log epoch is
    /// known to have lost. No event is stored twice, and no position was given to two events.
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
    /// Returns the log without entries, from the state of the partition.
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

    /// Returns the end of the log epoch that lost a sequence. None if no epoch is known to have lost it.
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

    /// Removes an entry, to show that the comparison detects it.
    pub(crate) fn forget(&mut self, id: &str) {
        self.events.retain(|_, own| own != id);
    }
}

/// The comparison detects each kind of fault.
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

    // An event inside an epoch, and one in the present epoch.
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
