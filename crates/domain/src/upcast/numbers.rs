//! Finds numbers that would lose digits in an upcaster.

/// The most significant digits of a decimal number that a 64-bit float holds.
const FLOAT_DIGITS: usize = 17;

/// Returns the first number of a JSON text that loses digits as a 64-bit integer or float.
pub(super) fn first_too_long(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = after_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let rest = bytes.get(at..).unwrap_or_default();
                let len = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                let number = json.get(at..at + len).unwrap_or_default();
                if is_too_long(number) {
                    return Some(number);
                }
                at += len;
            }
            _ => at += 1,
        }
    }
    None
}

/// Returns the place after the string that begins at `at`.
fn after_string(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at += 1;
        match bytes.get(at) {
            Some(b'\\') => at += 1,
            Some(b'"') => return at + 1,
            Some(_) => {}
            None => return at,
        }
    }
}

fn is_too_long(number: &str) -> bool {
    if number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return number.parse::<i64>().is_err() && number.parse::<u64>().is_err();
    }
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_start_matches('0').trim_end_matches('0').len() > FLOAT_DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_loses_digits_is_found_outside_of_strings() {
        for (json, expected) in [
            (r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":0.1,"d":1e300}"#, None),
            (r#"{"a":"123456789012345678901234567890","b":"\\\"99999999999999999999"}"#, None),
            (r#"{"a":48.858370099999997,"b":100000000000000000000.0,"c":49.50}"#, None),
            (r#"{"a":[1,18446744073709551616]}"#, Some("18446744073709551616")),
            (r#"{"a":{"b":-9223372036854775809}}"#, Some("-9223372036854775809")),
            ("[0.1234567890123456789]", Some("0.1234567890123456789")),
            ("1.23456789012345678e2", Some("1.23456789012345678e2")),
        ] {
            assert_eq!(first_too_long(json), expected, "{json}");
        }
    }
}
