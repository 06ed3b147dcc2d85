//! Kept plans, in partition 0, by id: one row for the record and one row for the document.

use async_trait::async_trait;
use domain::{
    StorageFailure,
    plan::PlanRecord,
    ports::{
        PlanStore,
        engine::{Guard, Read, RowId, Snapshot, Space, SpaceKind, Transaction},
    },
};

use crate::{
    Store,
    rows::{corrupt, from_json, named, read_values, to_json},
};

fn row_of(id: &str) -> RowId {
    named(SpaceKind::Plan, id)
}

fn document_of(id: &str) -> RowId {
    named(SpaceKind::PlanDocument, id)
}

fn read(value: &[u8]) -> Result<PlanRecord, StorageFailure> {
    from_json(value, "a kept plan")
}

#[async_trait]
impl PlanStore for Store {
    async fn add_plan(&self, plan: &PlanRecord, document: &str) -> Result<bool, StorageFailure> {
        let mut transaction = Transaction::durable();
        transaction
            .guard(Guard::Absent(row_of(&plan.id)))
            .put(row_of(&plan.id), to_json(plan)?)
            .put(document_of(&plan.id), document);
        self.first().is_committed(&transaction).await
    }

    async fn plan(&self, id: &str) -> Result<Option<PlanRecord>, StorageFailure> {
        self.first().row(row_of(id)).await?.as_deref().map(read).transpose()
    }

    async fn plan_document(&self, id: &str) -> Result<Option<String>, StorageFailure> {
        let found = self.first().row(document_of(id)).await?;
        found.map(|value| String::from_utf8(value).map_err(|_| corrupt("a kept plan"))).transpose()
    }

    async fn list_plans(&self) -> Result<Vec<PlanRecord>, StorageFailure> {
        let mut all = read_values(self.first().all(Space::of(SpaceKind::Plan)).await?, read)?;
        all.sort_by(|one, other| (other.created_at, &other.id).cmp(&(one.created_at, &one.id)));
        Ok(all)
    }

    async fn replace_plan(&self, before: &PlanRecord, after: &PlanRecord) -> Result<bool, StorageFailure> {
        let row = row_of(&before.id);
        let mut transaction = Transaction::durable();
        transaction.guard(Guard::Is(row.clone(), to_json(before)?)).put(row, to_json(after)?);
        self.first().is_committed(&transaction).await
    }

    async fn delete_plan(&self, id: &str) -> Result<bool, StorageFailure> {
        let decision = |mut found: Snapshot| {
            let before = found.row();
            let mut transaction = Transaction::durable().even_when_full();
            transaction.guard(Guard::still(row_of(id), before.as_deref()));
            if before.is_some() {
                transaction.delete(row_of(id)).delete(document_of(id));
            }
            Ok((before.is_some(), Some(transaction)))
        };
        self.first().decide(&[Read::Row(row_of(id))], decision).await
    }
}
