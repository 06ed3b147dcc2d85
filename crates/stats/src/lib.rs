//! Counters: what publishers, consumers and replays did, by minute, so that health and people can tell how they are doing.
//!
//! A [`Meter`] counts in memory; a [`Flusher`] carries the counts to the store each second, where they outlive the
//! program and meet those of other programs; a [`Window`] sums up what the store has of the last minutes. Whatever is
//! counted also goes to the recorder of the `metrics` facade, where one is installed. The names are in [`domain::stats`].

mod backlog;
mod flusher;
mod meter;
mod recorder;
mod series;
mod window;

pub use flusher::Flusher;
pub use meter::Meter;
pub use recorder::delivery;
pub use series::{MAX_LABELS, OTHER};
pub use window::{MIN_SAMPLES, Processing, WINDOW_MINUTES, Window};
