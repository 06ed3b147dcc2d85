//! Comparison of the content of two events: equal as JSON, with members in any order and numbers compared exactly.
//!
//! A publisher that retries sends the same bytes, so one comparison of bytes is the common case. The rest of the
//! module is for an event that passed through a tool on its way. Such a tool may reorder members, or write 1.5 in
//! place of 1.50.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

/// Returns whether two JSON texts have the same content. The contents are the same if the bytes are equal. They are
/// also the same if the JSON values are equal, with members in any order and numbers compared by exact decimal value,
/// never as floats. Texts that are not JSON are the same only if their bytes are equal.
///
/// ```
/// use event_replay_domain::event::same_content;
/// assert!(same_content(r#"{"a":1.50,"b":[1e2]}"#, r#"{ "b":[100], "a":1.5 }"#));
/// assert!(!same_content("9007199254740993", "9007199254740992"));
/// ```
pub fn same_content(left: &str, right: &str) -> bool {
    if left == right {
        return true;
    }
    let parse = |text| serde_json::from_str::<&RawValue>(text).ok();
    match (parse(left), parse(right)) {
        (Some(left), Some(right)) => same(left, right).unwrap_or(false),
        _ => false,
    }
}

fn same(left: &RawValue, right: &RawValue) -> Option<bool> {
    let (left, right) = (left.get(), right.get());
    if left == right {
        return Some(true);
    }
    Some(match (left.as_bytes().first()?, right.as_bytes().first()?) {
        (b'{', b'{') => same_objects(&members(left)?, &members(right)?)?,
        (b'[', b'[') => same_arrays(&elements(left)?, &elements(right)?)?,
        (b'"', b'"') => string(left)? == string(right)?,
        (b'-' | b'0'..=b'9', b'-' | b'0'..=b'9') => Decimal::of(left)? == Decimal::of(right)?,
        // true, false and null are equal only if their texts are equal. The comparison above has covered that.
        _ => false,
    })
}

fn same_objects(left: &BTreeMap<String, &RawValue>, right: &BTreeMap<String, &RawValue>) -> Option<bool> {
    if left.len() != right.len() {
        return Some(false);
    }
    for ((left_name, left), (right_name, right)) in left.iter().zip(right) {
        if left_name != right_name || !same(left, right)? {
            return Some(false);
        }
    }
    Some(true)
}

fn same_arrays(left: &[&RawValue], right: &[&RawValue]) -> Option<bool> {
    if left.len() != right.len() {
        return Some(false);
    }
    for (left, right) in left.iter().zip(right) {
        if !same(left, right)? {
            return Some(false);
        }
    }
    Some(true)
}

fn members(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(text).ok()
}

fn elements(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

fn string(text: &str) -> Option<Cow<'_, str>> {
    match serde_json::from_str::<&str>(text) {
        Ok(plain) => Some(Cow::Borrowed(plain)),
        Err(_) => serde_json::from_str::<String>(text).ok().map(Cow::Owned),
    }
}

/// A decimal number without leading or trailing zeros: sign × 0.digits × 10^exponent.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i128,
}

impl Decimal {
    fn of(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i128>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let Some(first) = all.iter().position(|digit| *digit != b'0') else {
            // All zeros are equal, with any sign and exponent.
            return Some(Self { negative: false, digits: Vec::new(), exponent: 0 });
        };
        let last = all.iter().rposition(|digit| *digit != b'0')?;
        let exponent = exponent.checked_add(whole.len() as i128)?.checked_sub(first as i128)?;
        Some(Self { negative, digits: all.get(first..=last)?.to_vec(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_spelled_otherwise_is_the_same_content() {
        for (left, right) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("0.001", "1E-3"),
            ("-0", "0"),
            ("0e99", "0.00"),
            ("123456789012345678901234567890", "1.2345678901234567890123456789e29"),
            (r#""ü""#, r#""\u00fc""#),
            (r#"{"a":1,"b":{"c":[true,null]}}"#, "{ \"b\" : {\"c\":[ true, null ]},\n\"a\":1 }"),
            (r#"{"\u0061":1}"#, r#"{"a":1}"#),
        ] {
            assert!(same_content(left, right), "{left} {right}");
        }
    }

    #[test]
    fn another_value_is_other_content() {
        for (left, right) in [
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.10000000000000001"),
            ("1", "-1"),
            ("1", "\"1\""),
            ("1", "true"),
            ("null", "false"),
            ("[1,2]", "[2,1]"),
            ("[1]", "[1,1]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            ("not json", "not  json"),
        ] {
            assert!(!same_content(left, right), "{left} {right}");
        }
    }
}
