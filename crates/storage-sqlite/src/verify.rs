//! Verification compares every event with every index entry, in two passes. It keeps one digest for each stretch of
//! 4096 positions in memory.
//!
//! Each pass walks the log or the index once. For each stretch of positions, the pass sums the digests of all pairs
//! (term, position). Equal sums mean that the stretch is intact. Only a stretch with different sums is compared pair by
//! pair.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};

use domain::{
    Position, StorageFailure,
    ports::{VerifyReport, engine::Checked},
    time::unix_micros,
};
use rusqlite::Connection;

use crate::{
    failure::sqlite,
    file::SqliteEngine,
    index::{
        postings,
        terms::{self, Kinds, Term, Value, term_of_row},
    },
    log::event_row,
    state::{PARTITION, State},
};

/// Number of positions that share a digest.
const STRETCH: u64 = 4096;
/// Number of stretches that are compared pair by pair at the same time.
const STRETCHES_AT_ONCE: usize = 8;
/// Number of rows that one transaction reads.
const ROWS_AT_ONCE: usize = 20_000;
/// The kind under which event ids are compared. No term has this kind.
const ID: i64 = 0;

/// The digest of each stretch.
type Digests = HashMap<u64, u64>;

pub(crate) async fn verify(
    engine: &SqliteEngine,
    checked: Checked<'_>,
) -> Result<VerifyReport, StorageFailure> {
    let mut report = VerifyReport::default();
    for detail in engine.reading(|connection, _| check_pages(connection)).await? {
        report.add(None, detail);
    }
    let before = engine.reading(|_, state| Ok(state.clone())).await?;
    let (log, totals) = walk_log(engine, &before, &mut report, checked).await?;
    let index = walk_index(engine, &before, &mut report).await?;
    let suspects: BTreeSet<u64> = log
        .keys()
        .chain(index.keys())
        .filter(|stretch| log.get(stretch) != index.get(stretch))
        .copied()
        .collect();
    let suspects: Vec<u64> = suspects.into_iter().collect();
    // The stretches are compared in small chunks. Otherwise the findings of a completely lost index would fill the
    // memory.
    for some in suspects.chunks(STRETCHES_AT_ONCE) {
        let suspects: BTreeSet<u64> = some.iter().copied().collect();
        let details = engine.reading(move |connection, state| compare(connection, state, &suspects)).await?;
        for (seq, detail) in details {
            report.add(Some(Position::new(PARTITION, seq)), detail);
        }
    }
    check_totals(engine, &before, totals, &mut report).await?;
    Ok(report)
}

/// Runs SQLite's own check of its pages.
fn check_pages(connection: &Connection) -> Result<Vec<String>, StorageFailure> {
    let mut statement = connection.prepare("PRAGMA quick_check(20)").map_err(sqlite)?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0)).map_err(sqlite)?;
    let mut found = Vec::new();
    for line in lines {
        let line = line.map_err(sqlite)?;
        if line != "ok" {
            found.push(format!("SQLite's own check: {line}"));
        }
    }
    Ok(found)
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    events: u64,
    bytes: u64,
}

async fn walk_log(
    engine: &SqliteEngine,
    before: &State,
    report: &mut VerifyReport,
    checked: Checked<'_>,
) -> Result<(Digests, Totals), StorageFailure> {
    let (mut digests, mut totals) = (Digests::new(), Totals::default());
    let (head, indexed) = (before.head, before.indexed);
    let mut after = 0;
    loop {
        let page = engine.reading(move |connection, _| log_page(connection, after, head, indexed)).await?;
        for (stretch, digest) in page.digests {
            let sum = digests.entry(stretch).or_insert(0);
            *sum = sum.wrapping_add(digest);
        }
        totals.events += page.totals.events;
        totals.bytes += page.totals.bytes;
        for (seq, detail) in page.findings {
            report.add(Some(Position::new(PARTITION, seq)), detail);
        }
        checked(totals.events);
        match page.last {
            Some(last) => after = last,
            None => break,
        }
    }
    report.events = totals.events;
    Ok((digests, totals))
}

#[derive(Default)]
struct LogPage {
    digests: Digests,
    totals: Totals,
    findings: Vec<(u64, String)>,
    last: Option<u64>,
}

fn log_page(connection: &Connection, after: u64, head: u64, indexed: u64) -> Result<LogPage, StorageFailure> {
    let mut page = LogPage::default();
    let mut kinds = Kinds::default();
    let mut statement = connection
        .prepare_cached(
            "SELECT seq, at, stored_at, head, json, octet_length(json) FROM event \
             WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
        )
        .map_err(sqlite)?;
    let mut found = statement.query((after as i64, head as i64, ROWS_AT_ONCE as i64)).map_err(sqlite)?;
    while let Some(row) = found.next().map_err(sqlite)? {
        let at: i64 = row.get(1).map_err(sqlite)?;
        page.totals.events += 1;
        page.totals.bytes += row.get::<_, i64>(5).map_err(sqlite)? as u64;
        let row = event_row::decode(row).map_err(sqlite)?;
        page.last = Some(row.seq);
        match row.event {
            Err(detail) => page.findings.push((row.seq, detail)),
            Ok(event) => {
                if unix_micros(event.timestamp()) != at {
                    page.findings.push((row.seq, "its timestamp column does not match its timestamp".into()));
                }
                add(&mut page.digests, ID, &event.id().into(), row.seq);
                if row.seq <= indexed {
                    for (kind, value) in kinds_of(&mut kinds, connection, &event)? {
                        add(&mut page.digests, kind, &value, row.seq);
                    }
                }
            }
        }
    }
    if page.totals.events < ROWS_AT_ONCE as u64 {
        page.last = None;
    }
    Ok(page)
}

/// Returns the terms as [`Kinds::terms`] does, but assigns no numbers to kinds that the index does not know.
fn kinds_of<'a>(
    kinds: &mut Kinds,
    connection: &Connection,
    event: &'a domain::Event,
) -> Result<Vec<Term<'a>>, StorageFailure> {
    terms::terms_of(event, |kind| {
        // A kind without a number has no entries. The number -1 makes the digests of the stretch differ.
        Ok(kinds.find(connection, kind)?.unwrap_or(-1))
    })
}

fn add(digests: &mut Digests, kind: i64, value: &Value<'_>, seq: u64) {
    let mut hasher = DefaultHasher::new();
    (kind, value, seq).hash(&mut hasher);
    let sum = digests.entry(seq / STRETCH).or_insert(0);
    // The digests are added. With XOR, a duplicate entry would cancel itself.
    *sum = sum.wrapping_add(hasher.finish());
}

/// The place from which a walk over the index continues.
#[derive(Debug, Clone)]
enum IndexPlace {
    Postings(i64, rusqlite::types::Value, i64),
    Ids(String),
    End,
}

async fn walk_index(
    engine: &SqliteEngine,
    before: &State,
    report: &mut VerifyReport,
) -> Result<Digests, StorageFailure> {
    let mut digests = Digests::new();
    let (head, indexed) = (before.head, before.indexed);
    let mut place = IndexPlace::Postings(i64::MIN, rusqlite::types::Value::Null, 0);
    loop {
        let from = place.clone();
        let (page, entries, findings, next) = engine
            .reading(move |connection, now| match from {
                IndexPlace::Postings(kind, value, first) => {
                    postings_page(connection, now, kind, &value, first, indexed)
                }
                IndexPlace::Ids(after) => ids_page(connection, now, &after, head),
                IndexPlace::End => Ok((Digests::new(), 0, Vec::new(), IndexPlace::End)),
            })
            .await?;
        for (stretch, digest) in page {
            let sum = digests.entry(stretch).or_insert(0);
            *sum = sum.wrapping_add(digest);
        }
        report.index_entries += entries;
        for detail in findings {
            report.add(None, detail);
        }
        place = next;
        if matches!(place, IndexPlace::End) {
            return Ok(digests);
        }
    }
}

type IndexPage = (Digests, u64, Vec<String>, IndexPlace);

fn postings_page(
    connection: &Connection,
    now: &State,
    kind: i64,
    value: &rusqlite::types::Value,
    first: i64,
    indexed: u64,
) -> Result<IndexPage, StorageFailure> {
    let (mut digests, mut entries, mut findings) = (Digests::new(), 0, Vec::new());
    let mut next = IndexPlace::Ids(String::new());
    let mut statement = connection
        .prepare_cached(
            "SELECT first, n, rest, kind, value FROM posting \
             WHERE kind > ?1 OR (kind = ?1 AND (value > ?2 OR (value = ?2 AND first > ?3))) \
             ORDER BY kind, value, first LIMIT ?4",
        )
        .map_err(sqlite)?;
    let mut found = statement.query((kind, value, first, ROWS_AT_ONCE as i64)).map_err(sqlite)?;
    let mut count = 0;
    while let Some(row) = found.next().map_err(sqlite)? {
        count += 1;
        let (first, positions) = postings::run_of_row(row).map_err(sqlite)?;
        let (kind, value) = term_of_row(row, 3).map_err(sqlite)?;
        match positions {
            Some(positions) => {
                if let Some(seq) = positions.last().filter(|seq| **seq > now.indexed) {
                    let term = describe(connection, &(kind, value.clone()));
                    findings
                        .push(format!("an index entry under {term} leads to 0:{seq}, past the indexed log"));
                }
                for seq in positions.into_iter().filter(|seq| *seq <= indexed) {
                    entries += 1;
                    add(&mut digests, kind, &value, seq);
                }
            }
            None => findings.push(format!(
                "the index run of {} from 0:{first} is damaged",
                describe(connection, &(kind, value))
            )),
        }
        if count == ROWS_AT_ONCE {
            next = IndexPlace::Postings(kind, row.get(4).map_err(sqlite)?, first as i64);
        }
    }
    Ok((digests, entries, findings, next))
}

fn ids_page(
    connection: &Connection,
    now: &State,
    after: &str,
    head: u64,
) -> Result<IndexPage, StorageFailure> {
    let (mut digests, mut entries, mut findings) = (Digests::new(), 0, Vec::new());
    let mut next = IndexPlace::End;
    let mut statement = connection
        .prepare_cached("SELECT id, seq FROM event_id WHERE id > ?1 ORDER BY id LIMIT ?2")
        .map_err(sqlite)?;
    let mut found = statement.query((after, ROWS_AT_ONCE as i64)).map_err(sqlite)?;
    let mut count = 0;
    while let Some(row) = found.next().map_err(sqlite)? {
        count += 1;
        let (id, seq): (String, i64) = (row.get(0).map_err(sqlite)?, row.get(1).map_err(sqlite)?);
        if seq as u64 <= head {
            entries += 1;
            add(&mut digests, ID, &id.as_str().into(), seq as u64);
        } else if seq as u64 > now.head {
            findings.push(format!("the id {id:?} leads to 0:{seq}, past the head of the log"));
        }
        if count == ROWS_AT_ONCE {
            next = IndexPlace::Ids(id);
        }
    }
    Ok((digests, entries, findings, next))
}

/// Compares suspect stretches pair by pair in one snapshot.
fn compare(
    connection: &Connection,
    state: &State,
    suspects: &BTreeSet<u64>,
) -> Result<Vec<(u64, String)>, StorageFailure> {
    let mut pairs: BTreeMap<(u64, i64, Value<'static>), i64> = BTreeMap::new();
    let mut kinds = Kinds::default();
    let mut findings = Vec::new();
    let mut damaged = BTreeSet::new();
    for stretch in suspects {
        let mut statement = connection
            .prepare_cached("SELECT seq, at, stored_at, head, json FROM event WHERE seq BETWEEN ?1 AND ?2")
            .map_err(sqlite)?;
        let (low, high) = (stretch * STRETCH, stretch * STRETCH + STRETCH - 1);
        let rows = statement.query_map((low as i64, high as i64), event_row::decode).map_err(sqlite)?;
        for row in rows {
            let row = row.map_err(sqlite)?;
            let Ok(event) = row.event else {
                damaged.insert(row.seq);
                continue;
            };
            pairs.insert((row.seq, ID, Value::from(event.id()).into_owned()), 1);
            if row.seq <= state.indexed {
                for (kind, value) in kinds_of(&mut kinds, connection, &event)? {
                    pairs.insert((row.seq, kind, value.into_owned()), 1);
                }
            }
        }
    }
    subtract_index(connection, suspects, &mut pairs)?;
    for ((seq, kind, value), balance) in pairs {
        let term = describe(connection, &(kind, value));
        match balance {
            1.. => findings.push((seq, format!("the event has no index entry under {term}"))),
            0 => {}
            // The entities of a damaged event are unknown. The event is reported as damaged.
            _ if damaged.contains(&seq) => {}
            _ => findings.push((seq, format!("an index entry under {term} leads to no such event"))),
        }
    }
    Ok(findings)
}

fn subtract_index(
    connection: &Connection,
    suspects: &BTreeSet<u64>,
    pairs: &mut BTreeMap<(u64, i64, Value<'static>), i64>,
) -> Result<(), StorageFailure> {
    let mut subtract = |seq: u64, kind: i64, value: Value<'static>| {
        if suspects.contains(&(seq / STRETCH)) {
            *pairs.entry((seq, kind, value)).or_insert(0) -= 1;
        }
    };
    let mut statement =
        connection.prepare("SELECT first, n, rest, kind, value FROM posting").map_err(sqlite)?;
    let mut found = statement.query([]).map_err(sqlite)?;
    while let Some(row) = found.next().map_err(sqlite)? {
        let (_, positions) = postings::run_of_row(row).map_err(sqlite)?;
        let (kind, value) = term_of_row(row, 3).map_err(sqlite)?;
        for seq in positions.unwrap_or_default() {
            subtract(seq, kind, value.clone());
        }
    }
    let mut statement = connection.prepare("SELECT id, seq FROM event_id").map_err(sqlite)?;
    let mut found = statement.query([]).map_err(sqlite)?;
    while let Some(row) = found.next().map_err(sqlite)? {
        let (id, seq): (String, i64) = (row.get(0).map_err(sqlite)?, row.get(1).map_err(sqlite)?);
        subtract(seq as u64, ID, Value::Text(id.into()));
    }
    Ok(())
}

/// Describes a term in words.
fn describe(connection: &Connection, (kind, value): &Term<'_>) -> String {
    let name = match *kind {
        ID => "id".to_owned(),
        terms::TYPE => "type".to_owned(),
        terms::SOURCE => "source".to_owned(),
        terms::CORRELATION => "correlation id".to_owned(),
        terms::HOUR => "hour".to_owned(),
        number => connection
            .query_row("SELECT name FROM kind WHERE kind = ?1", [number], |row| row.get(0))
            .unwrap_or_else(|_| "an unknown kind".to_owned()),
    };
    match value {
        Value::Hour(hour) => format!("{name} {hour}"),
        Value::Text(text) => format!("{name} {text:?}"),
    }
}

/// Compares the store's counters with the log, unless another process changed the store during the verification.
async fn check_totals(
    engine: &SqliteEngine,
    before: &State,
    totals: Totals,
    report: &mut VerifyReport,
) -> Result<(), StorageFailure> {
    let after = engine.reading(|_, state| Ok(state.clone())).await?;
    let counted = Totals { events: after.events, bytes: after.bytes };
    if after == *before && counted != totals {
        report.add(
            None,
            format!(
                "the store counts {} events of {} bytes, and holds {} of {} bytes",
                counted.events, counted.bytes, totals.events, totals.bytes
            ),
        );
    }
    Ok(())
}
