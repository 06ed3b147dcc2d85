//! The file of effects: what the handlers of all processes did, in the order in which they did it.
//!
//! A line is `NUMBER WHAT EVENT ATTEMPT ORIGIN LATE`; WHAT is `handled` or `failed`. LATE is 1 where the process' lease
//! had run out meanwhile. Two lines speak of no event: `NUMBER lapsed` (a lease ran out before it was renewed) and `NUMBER
//! lost` (the process was told that another one had taken a segment over).

use std::{fs::File, io::Write};

use anyhow::{Context, Result};
use domain::{Delivery, delivery::DeliveryOrigin};

/// The file, as one process writes to it.
pub(crate) struct Effects {
    file: File,
    number: String,
}

impl Effects {
    pub(crate) fn open(path: &str, number: &str) -> Result<Self> {
        let file = File::options().append(true).create(true).open(path).context("EFFECTS")?;
        Ok(Self { file, number: number.to_owned() })
    }

    /// Notes what came of a delivery.
    pub(crate) fn delivery(&self, what: &str, delivery: &Delivery, late: bool) -> std::io::Result<()> {
        let origin = match &delivery.origin {
            DeliveryOrigin::Live => "live",
            DeliveryOrigin::Replay { .. } => "replay",
            DeliveryOrigin::Redrive { .. } => "redrive",
        };
        let (id, attempt) = (delivery.stored.event.id(), delivery.attempt);
        self.line(&format!("{what} {id} {attempt} {origin} {}", u8::from(late)))
    }

    /// One write a line, at the end of the file: lines of several processes neither mix nor tear.
    pub(crate) fn line(&self, text: &str) -> std::io::Result<()> {
        (&self.file).write_all(format!("{} {text}\n", self.number).as_bytes())
    }
}
