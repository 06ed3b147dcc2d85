//! Requests that clients may send again: one row each in partition 0, and an index by expiry.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    StorageFailure,
    ports::{
        RequestClaim, RequestStore,
        engine::{
            Guard, Read, RowId, Snapshot, Space, SpaceKind, Transaction,
            rows::{
                KeyReader,
                Part::{Text, Time},
                key,
            },
        },
    },
    request::{RecordedAnswer, RequestId, RequestState},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Store,
    rows::{corrupt, from_json, to_json},
};

/// The most expired requests that one call removes.
const FORGOTTEN_AT_ONCE: usize = 50;

/// The row of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestRow {
    digest: String,
    claim: String,
    /// The time after which another attempt may begin the request, if it has no answer.
    lease_ends: Timestamp,
    /// The time at which the request expires and is forgotten.
    forgotten: Timestamp,
    answer: Option<RecordedAnswer>,
}

impl RequestRow {
    fn read(value: &[u8]) -> Result<Self, StorageFailure> {
        from_json(value, "a request")
    }

    fn state(&self, digest: &str, now: Timestamp) -> RequestState {
        if self.forgotten <= now {
            return RequestState::New;
        }
        match &self.answer {
            _ if self.digest != digest => RequestState::Different,
            Some(answer) => RequestState::Answered(answer.clone()),
            None if now < self.lease_ends => RequestState::Running,
            None => RequestState::New,
        }
    }
}

fn row_of(id: &RequestId) -> RowId {
    RowId::of(SpaceKind::Request, key(&[Text(&id.principal), Text(&id.route), Text(&id.key)]))
}

/// Returns the place of a request in the index. The key is the expiry, then the key of the row.
fn place_of(forgotten: Timestamp, row: &RowId) -> RowId {
    let mut place = key(&[Time(forgotten)]);
    place.extend_from_slice(&row.key);
    RowId::of(SpaceKind::RequestOrder, place)
}

/// Returns the key of the place in the index, for a row with these bytes.
pub(crate) fn place_of_row(key: Vec<u8>, value: &[u8]) -> Result<Vec<u8>, StorageFailure> {
    Ok(place_of(RequestRow::read(value)?.forgotten, &RowId::of(SpaceKind::Request, key)).key)
}

/// Returns the row that a place names.
fn row_at(place: &[u8]) -> Result<RowId, StorageFailure> {
    let is_time = KeyReader::new(place).time().is_some();
    let row = place.get(key(&[Time(Timestamp::UNIX_EPOCH)]).len()..).filter(|_| is_time);
    row.map(|row| RowId::of(SpaceKind::Request, row)).ok_or_else(|| corrupt("a place of a request"))
}

fn after(now: Timestamp, time: Duration) -> Timestamp {
    now.checked_add(time).unwrap_or(Timestamp::MAX)
}

/// Adds the removal of the request that a place names.
fn forget(transaction: &mut Transaction, place: &RowId) -> Result<(), StorageFailure> {
    // A request that began again has a new place. So the row still belongs to this place while the place exists.
    transaction.guard(Guard::Present(place.clone()));
    transaction.delete(place.clone()).delete(row_at(&place.key)?);
    Ok(())
}

#[async_trait]
impl RequestStore for Store {
    async fn begin_request(
        &self,
        id: &RequestId,
        claim: RequestClaim<'_>,
    ) -> Result<RequestState, StorageFailure> {
        let row = row_of(id);
        let reads =
            [Read::Row(row.clone()), Read::first(Space::of(SpaceKind::RequestOrder), FORGOTTEN_AT_ONCE)];
        let decision = |mut found: Snapshot| {
            let (now, before, oldest) = (found.now, found.row(), found.range());
            let known = before.as_deref().map(RequestRow::read).transpose()?;
            let state = known.as_ref().map_or(RequestState::New, |known| known.state(claim.digest, now));
            if state != RequestState::New {
                return Ok((state, None));
            }
            let mut transaction = Transaction::durable().even_when_full();
            transaction.guard(Guard::still(row.clone(), before.as_deref()));
            let own = known.map(|known| place_of(known.forgotten, &row));
            if let Some(place) = &own {
                forget(&mut transaction, place)?;
            }
            let over = key(&[Time(now)]);
            for (place, _) in oldest.into_iter().filter(|(place, _)| *place < over) {
                let place = RowId::of(SpaceKind::RequestOrder, place);
                if own.as_ref() != Some(&place) {
                    forget(&mut transaction, &place)?;
                }
            }
            let begun = RequestRow {
                digest: claim.digest.to_owned(),
                claim: claim.claim.to_owned(),
                lease_ends: after(now, claim.lease),
                forgotten: after(now, claim.keep),
                answer: None,
            };
            transaction.put(row.clone(), to_json(&begun)?).list(place_of(begun.forgotten, &row));
            Ok((state, Some(transaction)))
        };
        self.first().decide(&reads, decision).await
    }

    async fn finish_request(
        &self,
        id: &RequestId,
        claim: &str,
        answer: Option<&RecordedAnswer>,
    ) -> Result<bool, StorageFailure> {
        let row = row_of(id);
        let decision = |mut found: Snapshot| {
            let Some(before) = found.row() else { return Ok((false, None)) };
            let known = RequestRow::read(&before)?;
            if known.claim != claim || known.answer.is_some() {
                return Ok((false, None));
            }
            let mut transaction = Transaction::durable().even_when_full();
            transaction.guard(Guard::still(row.clone(), Some(&before)));
            match answer {
                Some(answer) => {
                    let done = RequestRow { answer: Some(answer.clone()), ..known };
                    transaction.put(row.clone(), to_json(&done)?);
                }
                None => forget(&mut transaction, &place_of(known.forgotten, &row))?,
            }
            Ok((true, Some(transaction)))
        };
        self.first().decide(&[Read::Row(row.clone())], decision).await
    }

    async fn remembered_requests(&self) -> Result<u64, StorageFailure> {
        let reads = [Read::Count(Space::of(SpaceKind::Request))];
        Ok(self.first().get(&reads).await?.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_its_row_and_sorts_by_time() {
        let id = |key: &str| RequestId {
            principal: "p\0".to_owned(),
            route: "POST /v1/trims".to_owned(),
            key: key.to_owned(),
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let (early, late) = (place_of(at(1), &row_of(&id("z"))), place_of(at(2), &row_of(&id("a"))));
        assert!(early < late && early.key < key(&[Time(at(2))]) && late.key >= key(&[Time(at(2))]));
        assert_eq!(row_at(&late.key).unwrap(), row_of(&id("a")));
        assert!(row_at(b"short").is_err());
    }
}
