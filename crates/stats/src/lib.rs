//! Counters of publishers, consumers and replays, by minute. Health checks and operators read them.
//!
//! A [`Meter`] counts in memory. A [`Flusher`] adds the counts to the store each second. In the store, the counts stay
//! after the program ends, and add up with the counts of other programs. A [`Window`] sums up the last minutes in the
//! store. Every count also goes to the recorder of the `metrics` facade, if one is installed. [`domain::stats`] defines
//! the names.

mod backlog;
mod flusher;
mod meter;
mod recorder;
mod series;
mod window;

pub use flusher::Flusher;
pub use meter::Meter;
pub use recorder::{Deliveries, group_lag};
pub use series::{MAX_LABELS, OTHER};
pub use window::{MIN_SAMPLES, Processing, WINDOW_MINUTES, Window};
