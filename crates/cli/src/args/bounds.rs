//! The flags that bound a selection by events. Every command that reads a slice of the log has the same.

use clap::Args;
use event_replay::app::bounds::BoundsRequest;

use super::filter::name;

/// Which part of the log. An event is its id, or a position as `list` prints it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which events (flags are ANDed, a repeated flag's values are ORed)")]
pub(crate) struct BoundArgs {
    /// Events after this one in the log: its id, or a position such as 0:17.
    #[arg(long, value_name = "ID", value_parser = name)]
    pub(crate) after_event: Option<String>,
    /// Events up to and including this one in the log: its id, or a position such as 0:17.
    #[arg(long, value_name = "ID", value_parser = name)]
    pub(crate) until_event: Option<String>,
}

impl BoundArgs {
    /// Returns the bounds that the flags describe.
    pub(crate) fn request(&self) -> BoundsRequest {
        BoundsRequest { after: self.after_event.clone(), until: self.until_event.clone() }
    }
}
