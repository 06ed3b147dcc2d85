//! This crate ships nothing. The tests are in `tests/`, and the Rust examples of the documentation are compiled here.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/architecture.md")]
mod architecture {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/delivery.md")]
mod delivery {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/event-format.md")]
mod event_format {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/rust.md")]
mod rust {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/schemas.md")]
mod schemas {}
