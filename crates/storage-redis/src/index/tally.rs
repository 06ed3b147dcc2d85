//! The counts of indexed events: a hash of the partition. The calls that change the index change the hash.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    Figure, Tally,
    tally::{day_of_hour, through_row},
};
use redis::{Cmd, ToRedisArgs};

/// Adds long terms to the counts. Each has its name in the directory, and the number of its events.
pub(crate) fn add<'n>(tally: &mut Tally, longs: impl Iterator<Item = (&'n str, u64)>) {
    let decoded = |text: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    for (name, events) in longs {
        match name.split_once(':') {
            Some(("t", text)) => {
                decoded(text).inspect(|label| tally.add(Figure::Type, label, events));
            }
            Some(("s", text)) => {
                decoded(text).inspect(|label| tally.add(Figure::Source, label, events));
            }
            Some(("h", hour)) => {
                hour.parse().ok().inspect(|hour| tally.add(Figure::Day, &day_of_hour(*hour), events));
            }
            _ => {}
        }
    }
}

/// Adds changes of counts to a command: the field with the sequence through which events are counted, the number of
/// changed counts, and each field with its change.
pub(crate) fn put(
    command: &mut Cmd,
    changes: impl ExactSizeIterator<Item = (impl ToRedisArgs, impl ToRedisArgs)>,
) {
    command.arg(through_row().key).arg(changes.len());
    for (field, change) in changes {
        command.arg(field).arg(change);
    }
}
