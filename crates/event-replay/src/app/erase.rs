//! The erasure of every event that names an entity.

use std::sync::Arc;

use domain::{Entity, Filter, ports::Erased};

use super::{
    audit::{Action, Actor, audited, facts},
    confirmation::Confirmation,
    error::{AppError, InvalidRequest},
};
use crate::{handle::StoreHandle, settings::Settings};

/// The largest number of entity kinds in one request.
const MAX_KINDS: usize = 8;

/// The entities of an erasure, without duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseRequest {
    entities: Vec<Entity>,
}

impl EraseRequest {
    /// Makes an erasure of every event that names any of these entities.
    ///
    /// # Errors
    /// Returns [`InvalidRequest`] when no entity is given.
    pub fn new(mut entities: Vec<Entity>) -> Result<Self, InvalidRequest> {
        entities.sort();
        entities.dedup();
        match entities.is_empty() {
            true => Err(InvalidRequest::NoEntities),
            false => Ok(Self { entities }),
        }
    }

    /// Returns the number of events that name any of the entities, each counted once. A filter matches one combination
    /// of kinds. Events that name entities of several kinds are subtracted again, by inclusion and exclusion.
    ///
    /// # Errors
    /// Returns [`AppError`] when the entities have too many kinds, or when the store fails.
    pub async fn count(&self, store: &StoreHandle) -> Result<u64, AppError> {
        let kinds: Vec<&[Entity]> = self.entities.chunk_by(|a, b| a.kind == b.kind).collect();
        if kinds.len() > MAX_KINDS {
            return Err(InvalidRequest::TooManyKinds(MAX_KINDS).into());
        }
        let (mut added, mut taken_off) = (0u64, 0u64);
        for combination in 1u32..(1 << kinds.len()) {
            let mut filter = Filter::default();
            for (at, kind) in kinds.iter().enumerate() {
                if combination & (1 << at) != 0 {
                    kind.iter().cloned().for_each(|entity| filter.add_entity(entity));
                }
            }
            let matching = store.count(&Arc::new(filter), None).await?;
            match combination.count_ones() % 2 {
                1 => added += matching,
                _ => taken_off += matching,
            }
        }
        Ok(added.saturating_sub(taken_off))
    }

    /// Returns the entities in the form `KIND=ID`.
    pub fn names(&self) -> Vec<String> {
        self.entities.iter().map(ToString::to_string).collect()
    }

    /// Returns the confirmation for this number of events.
    pub fn confirmation(&self, events: u64, settings: &Settings) -> Confirmation {
        Confirmation::EraseEntities { events, entities: self.names(), store: settings.store.clone() }
    }

    /// Erases the entities. Returns the counts, and the places where copies may remain.
    ///
    /// # Errors
    /// Returns [`AppError`] when the store fails. Events that were erased before the failure stay erased.
    pub async fn erase(&self, store: &StoreHandle, by: &Actor) -> Result<Erased, AppError> {
        // The audit is permanent, so it has the kinds of the entities but not their ids.
        let mut kinds: Vec<&str> = self.entities.iter().map(|entity| entity.kind.as_str()).collect();
        kinds.dedup();
        let action = Action::new("erase").with("kinds", kinds).with("entities", self.entities.len());
        let outcome =
            |erased: &Erased| facts([("events", erased.events.into()), ("bytes", erased.bytes.into())]);
        audited(store, by, action, self.remove(store), outcome).await
    }

    async fn remove(&self, store: &StoreHandle) -> Result<Erased, AppError> {
        let mut total = Erased::default();
        for entity in &self.entities {
            let erased = store.erase(entity).await?;
            total.events += erased.events;
            total.bytes += erased.bytes;
            for remains in erased.remains {
                if !total.remains.contains(&remains) {
                    total.remains.push(remains);
                }
            }
        }
        Ok(total)
    }
}
