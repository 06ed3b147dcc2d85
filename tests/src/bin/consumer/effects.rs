//! The effects file: the actions of the handlers of all processes, in the order in which they happened.
//!
//! A line is `NUMBER WHAT EVENT ATTEMPT ORIGIN LATE`. The second word is `handled` or `failed`. LATE is 1 if the lease of the
//! process expired during the attempt. Two kinds of lines contain no event. `NUMBER lapsed` means that a lease expired
//! before its renewal. `NUMBER lost` means that another process took over a segment.

use std::{fs::File, io::Write};

use anyhow::{Context, Result};
use domain::{Delivery, delivery::DeliveryOrigin};

/// The effects file of one process.
pub(crate) struct Effects {
    file: File,
    number: String,
}

impl Effects {
    pub(crate) fn open(path: &str, number: &str) -> Result<Self> {
        let file = File::options().append(true).create(true).open(path).context("EFFECTS")?;
        Ok(Self { file, number: number.to_owned() })
    }

    /// Records the result of a delivery.
    pub(crate) fn delivery(&self, what: &str, delivery: &Delivery, late: bool) -> std::io::Result<()> {
        let origin = match &delivery.origin {
            DeliveryOrigin::Live => "live",
            DeliveryOrigin::Replay { .. } => "replay",
            DeliveryOrigin::Redrive { .. } => "redrive",
        };
        let (id, attempt) = (delivery.stored.event.id(), delivery.attempt);
        self.line(&format!("{what} {id} {attempt} {origin} {}", u8::from(late)))
    }

    /// Appends one line with one write, so that lines of several processes do not mix.
    pub(crate) fn line(&self, text: &str) -> std::io::Result<()> {
        (&self.file).write_all(format!("{} {text}\n", self.number).as_bytes())
    }
}
