//! Joining a group: as it is where it exists, as the flags say where it does not.

use event_replay::{
    StoreHandle,
    app::consumer::{JoinRequest, Joining},
};

use crate::{context::Context, errors::CliError, output::escape};

/// What the group is, or is to be; says so where a flag has no effect.
pub(super) async fn resolve(
    request: &JoinRequest,
    stores: &StoreHandle,
    cx: &Context<'_>,
) -> Result<Joining, CliError> {
    let joining = request.resolve(stores).await?;
    if !joining.is_new && request.at.is_some() {
        let name = escape::line(&request.group);
        cx.printer.warn(&format!(
            "group {name} exists and goes on from where it is; `event-replay groups reset` moves a group"
        ));
    }
    Ok(joining)
}
