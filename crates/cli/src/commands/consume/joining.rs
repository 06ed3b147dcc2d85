//! Joining a group. An existing group keeps its settings, and the flags describe a new group.

use std::io::{self, IsTerminal};

use event_replay::{
    StoreHandle,
    app::{
        AppError, InvalidRequest,
        consumer::{JoinRequest, Joining},
    },
};

use crate::{
    context::Context,
    errors::CliError,
    output::{confirm::ask, escape},
};

/// Returns the settings of an existing group or of a new one. Warns when `--at` has no effect.
pub(super) async fn resolve(
    request: &JoinRequest,
    stores: &StoreHandle,
    cx: &Context<'_>,
) -> Result<Joining, CliError> {
    let joining = match request.resolve(stores).await {
        Err(AppError::Invalid(refused @ InvalidRequest::GroupNotToBeMade { .. }))
            if io::stdin().is_terminal() =>
        {
            ask(&format!("{refused}\nThis would make a new group {}.", request.group))?;
            JoinRequest { create: true, ..request.clone() }.resolve(stores).await?
        }
        joining => joining?,
    };
    if !joining.is_new && request.at.is_some() {
        let name = escape::line(&request.group);
        cx.printer.warn(&format!(
            "group {name} exists and continues from its position; `event-replay groups reset` moves a group"
        ));
    }
    Ok(joining)
}
