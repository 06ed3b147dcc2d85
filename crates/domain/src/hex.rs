//! Bytes as hexadecimal text.

/// Returns bytes in hexadecimal, with two lowercase digits a byte.
///
/// ```
/// assert_eq!(event_replay_domain::hex(&[0, 10, 255]), "000aff");
/// ```
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
