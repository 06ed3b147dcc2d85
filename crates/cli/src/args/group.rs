//! Parsers for the flags of consumer groups.

pub(crate) use event_replay::text::name::{group as name, group_key as key, segments};
