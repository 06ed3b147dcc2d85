//! Checks the rows of dead letters. Each dead letter must have its event and its index entries. Each reference must
//! lead to a dead letter.

use std::collections::{HashMap, HashSet};

use domain::{
    DeadLetterState, StorageFailure,
    ports::engine::{Space, SpaceKind, rows::KeyReader},
};

use super::Findings;
use crate::{
    dead_letters::rows::LetterRow,
    partition::Partition,
    rows::{
        LETTER_STATES, Rows, event, letter_at, letters_in, number_in, number_key, of, state_name, text,
        text_in, time_and_id, time_key,
    },
};

/// All rows of dead letters, without the indexes by state.
#[derive(Default)]
struct All {
    letters: HashMap<String, LetterRow>,
    /// Dead letters with an unreadable row. Nothing else is reported about them.
    unreadable: HashSet<String>,
    events: HashSet<String>,
    order: HashSet<Vec<u8>>,
    groups: HashSet<String>,
}

pub(super) async fn check(partition: Partition<'_>, findings: &mut Findings) -> Result<(), StorageFailure> {
    let kinds = [
        SpaceKind::DeadLetter,
        SpaceKind::DeadLetterEvent,
        SpaceKind::DeadLetterOrder,
        SpaceKind::DeadLetterGroup,
        SpaceKind::DeadLetterEdit,
    ];
    let mut found = partition.all_of(kinds.map(Space::of)).await?;
    let mut all = All::default();
    for (key, value) in found.range() {
        let id = text_in(&key)?;
        match findings.readable(LetterRow::read(&id, &value))? {
            Some(row) => drop(all.letters.insert(id, row)),
            None => drop(all.unreadable.insert(id)),
        }
    }
    for (key, value) in found.range() {
        let id = text_in(&key)?;
        if all.letters.contains_key(&id) || all.unreadable.contains(&id) {
            let read = event(&value, format_args!("the event of the dead letter {id}"));
            findings.readable(read.map(drop))?;
        } else {
            findings.add(format!("an event is kept for the dead letter {id}, which is not there"));
        }
        all.events.insert(id);
    }
    all.check_order(found.range(), findings)?;
    all.groups = found.range().iter().map(|(key, _)| text_in(key)).collect::<Result<_, _>>()?;
    all.check_edits(found.range(), findings)?;
    let lists = all.check_states(partition, findings).await?;
    let places = all.check_places(partition, findings).await?;
    all.check_letters(&lists, &places, findings);
    Ok(())
}

impl All {
    /// Returns the fault of an entry that names a dead letter, if it has one.
    fn fault(&self, id: &str, belongs: impl Fn(&LetterRow) -> bool) -> Option<&'static str> {
        match self.letters.get(id) {
            Some(row) if belongs(row) => None,
            Some(_) => Some("where it does not belong"),
            None if self.unreadable.contains(id) => None,
            None => Some("which is not there"),
        }
    }

    /// Checks that each edited dead letter has its edited event, and that no other dead letter has one.
    fn check_edits(&self, rows: Rows, findings: &mut Findings) -> Result<(), StorageFailure> {
        let mut edited = HashSet::new();
        for (key, value) in rows {
            let id = text_in(&key)?;
            if let Some(fault) = self.fault(&id, LetterRow::is_edited) {
                findings.add(format!("an edited event is kept for the dead letter {id}, {fault}"));
            }
            findings.readable(
                event(&value, format_args!("the edited event of the dead letter {id}")).map(drop),
            )?;
            edited.insert(id);
        }
        for (id, _) in self.letters.iter().filter(|(id, row)| row.is_edited() && !edited.contains(*id)) {
            findings.add(format!("the dead letter {id} has no edited event"));
        }
        Ok(())
    }

    fn check_order(&mut self, rows: Rows, findings: &mut Findings) -> Result<(), StorageFailure> {
        for (key, _) in rows {
            let Some((created, id)) = findings.readable(time_and_id(&key))? else { continue };
            if let Some(fault) = self.fault(&id, |row| row.created == created) {
                findings.add(format!("the list of all dead letters names {id}, {fault}"));
            }
            self.order.insert(key);
        }
        Ok(())
    }

    /// Checks the indexes by group and state. Returns all their entries.
    async fn check_states(
        &self,
        partition: Partition<'_>,
        findings: &mut Findings,
    ) -> Result<HashSet<(String, DeadLetterState, Vec<u8>)>, StorageFailure> {
        let scopes = partition.scopes(&[SpaceKind::DeadLetterState]).await?.unwrap_or_default();
        let mut strangers = HashSet::new();
        for scope in scopes {
            match KeyReader::new(&scope).text() {
                Some(group) if self.groups.contains(&group) => {}
                Some(group) => drop(strangers.insert(group)),
                None => findings.add("the name of a list of dead letters cannot be read"),
            }
        }
        for group in strangers {
            findings.add(format!(
                "there are lists of dead letters of the group {group:?}, which is not on the list of groups that have any"
            ));
        }
        let of_group = |group: &String| LETTER_STATES.map(|state| (group.clone(), state));
        let lists: Vec<(String, DeadLetterState)> = self.groups.iter().flat_map(of_group).collect();
        let mut found =
            partition.all_of(lists.iter().map(|(group, state)| letters_in(group, *state))).await?;
        let mut entries = HashSet::new();
        for (group, state) in lists {
            let name = state_name(state);
            for (key, _) in found.range() {
                if let Some((created, id)) = findings.readable(time_and_id(&key))? {
                    let belongs =
                        |row: &LetterRow| row.created == created && row.group == group && row.state == state;
                    if let Some(fault) = self.fault(&id, belongs) {
                        findings.add(format!(
                            "the list of dead letters of the group {group:?} and the state {name} names {id}, {fault}"
                        ));
                    }
                }
                entries.insert((group.clone(), state, key));
            }
        }
        Ok(entries)
    }

    /// Checks the dead letters that the index by position names. Returns the positions, each with its group.
    async fn check_places(
        &self,
        partition: Partition<'_>,
        findings: &mut Findings,
    ) -> Result<HashSet<(String, Vec<u8>)>, StorageFailure> {
        let mut groups = self.groups.clone();
        for scope in partition.scopes(&[SpaceKind::DeadLetterAt]).await?.unwrap_or_default() {
            groups.extend(findings.readable(text_in(&scope))?);
        }
        let mut places = HashSet::new();
        for group in groups {
            for (key, value) in partition.all(of(SpaceKind::DeadLetterAt, &group)).await? {
                let Some(id) = findings.readable(text(value))? else { continue };
                let at = number_in(&key).ok().filter(|at| key == number_key(*at));
                let belongs = |row: &LetterRow| row.group == group && Some(row.sequence()) == at;
                if let Some(fault) = self.fault(&id, belongs) {
                    let at = at.map_or_else(|| "a place of another form".to_owned(), |at| at.to_string());
                    findings.add(format!(
                        "the index of dead letters of the group {group:?} names {id} at {at}, {fault}"
                    ));
                }
                places.insert((group.clone(), key));
            }
        }
        Ok(places)
    }

    /// Checks that each dead letter has its event and its index entries.
    fn check_letters(
        &self,
        lists: &HashSet<(String, DeadLetterState, Vec<u8>)>,
        places: &HashSet<(String, Vec<u8>)>,
        findings: &mut Findings,
    ) {
        for (id, row) in &self.letters {
            let (group, state) = (&row.group, state_name(row.state));
            let entry = time_key(row.created, id);
            if !self.events.contains(id) {
                findings.add(format!("the dead letter {id} has no event"));
            }
            if !places.contains(&(group.clone(), letter_at(group, row.sequence()).key)) {
                findings.add(format!("the dead letter {id} is not found by the place of its event"));
            }
            if !self.order.contains(&entry) {
                findings.add(format!("the dead letter {id} is not on the list of all"));
            }
            if !self.groups.contains(group) {
                findings.add(format!(
                    "the group {group:?} has dead letters, and is not on the list of groups that do"
                ));
            } else if !lists.contains(&(group.clone(), row.state, entry)) {
                findings.add(format!(
                    "the dead letter {id} is not on the list of the group {group:?} and the state {state}"
                ));
            }
        }
    }
}
