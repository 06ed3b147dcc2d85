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

/// Returns the checkpoint functions over a store.
pub fn checkpoints(store: &StoreHandle) -> Checkpoints {
    Checkpoints::new(store.ports().clone(), store.ports().clone(), clock())
}

/// Creates a checkpoint. With `replace`, moves an existing checkpoint of the same name.
///
/// # Errors
/// The same errors as [`Checkpoints::create`].
pub async fn create(store: &StoreHandle, by: &Actor, new: NewCheckpoint) -> Result<Checkpoint, AppError> {
    let action = Action::new("checkpoint").to(&new.name).with("replace", new.replace).with("hold", new.hold);
    let keeper = checkpoints(store);
    let creating = async { keeper.create(new).await.map_err(AppError::from) };
    let outcome = |made: &Checkpoint| {
        facts([("mark", made.mark.to_string().into()), ("events", made.event_count.into())])
    };
    audited(store, by, action, creating, outcome).await
}

/// Deletes a checkpoint by its name or id. Returns its name.
///
/// # Errors
/// Returns [`AppError`] when the checkpoint does not exist, or when the store fails.
pub async fn delete(store: &StoreHandle, by: &Actor, name_or_id: &str) -> Result<String, AppError> {
    let keeper = checkpoints(store);
    let found = keeper.find(name_or_id).await?;
    let action = Action::new("checkpoints delete").to(&found.name).with("mark", found.mark.to_string());
    let deleting = async { keeper.delete(&found.name).await.map_err(AppError::from) };
    audited(store, by, action, deleting, |_| facts([])).await?;
    Ok(found.name)
}

/// Returns names of checkpoints that are similar to a name.
pub(super) async fn near(store: &StoreHandle, name: &str) -> Result<Vec<String>, AppError> {
    let known = store.list_checkpoints().await?;
    Ok(near::near(name, known.iter().map(|checkpoint| checkpoint.name.as_str())))
}
