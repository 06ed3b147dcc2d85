//! What a server must be like before it is used, and what `health` says of it.

use domain::StorageFailure;

use crate::link::Link;

/// Refuses a server that must not be used as it is set up.
pub(crate) async fn before_use(_link: &Link) -> Result<(), StorageFailure> {
    Ok(())
}
