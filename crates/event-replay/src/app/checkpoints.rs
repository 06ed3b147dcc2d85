//! The checkpoints of a store.

use domain::Checkpoint;
use replay::{Checkpoints, NewCheckpoint};

use super::{
    audit::{Action, Actor, audited, facts},
    error::AppError,
    near,
    store::clock,
};
use crate::handle::StoreHandle;

/// What finds and compares the checkpoints of a store.
pub fn checkpoints(store: &StoreHandle) -> Checkpoints {
    Checkpoints::new(store.ports().clone(), store.ports().clone(), clock())
}

/// Makes a checkpoint, or moves the one of its name.
///
/// # Errors
/// As [`Checkpoints::create`].
pub async fn create(store: &StoreHandle, by: &Actor, new: NewCheckpoint) -> Result<Checkpoint, AppError> {
    let action = Action::new("checkpoint").to(&new.name).with("replace", new.replace).with("hold", new.hold);
    let keeper = checkpoints(store);
    let creating = async { keeper.create(new).await.map_err(AppError::from) };
    let outcome = |made: &Checkpoint| {
        facts([("mark", made.mark.to_string().into()), ("events", made.event_count.into())])
    };
    audited(store, by, action, creating, outcome).await
}

/// Deletes a checkpoint by its name or id; its name.
///
/// # Errors
/// When there is none, or the store fails.
pub async fn delete(store: &StoreHandle, by: &Actor, name_or_id: &str) -> Result<String, AppError> {
    let keeper = checkpoints(store);
    let found = keeper.find(name_or_id).await?;
    let action = Action::new("checkpoints delete").to(&found.name).with("mark", found.mark.to_string());
    let deleting = async { keeper.delete(&found.name).await.map_err(AppError::from) };
    audited(store, by, action, deleting, |_| facts([])).await?;
    Ok(found.name)
}

/// Names of checkpoints of which a name may be a misspelling.
pub(super) async fn near(store: &StoreHandle, name: &str) -> Result<Vec<String>, AppError> {
    let known = store.list_checkpoints().await?;
    Ok(near::near(name, known.iter().map(|checkpoint| checkpoint.name.as_str())))
}
