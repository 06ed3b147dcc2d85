//! Cuts and escapes foreign text for messages.

/// Returns the first bytes of a text on one line that is safe to print. Control characters and bidirectional characters
/// become escapes. Bytes that are not UTF-8 become U+FFFD. A final `…` marks a cut text.
pub(crate) fn excerpt(bytes: &[u8], max_bytes: usize) -> String {
    let cut = bytes.get(..max_bytes).unwrap_or(bytes);
    let mut text = String::with_capacity(cut.len() + 4);
    for character in String::from_utf8_lossy(cut).chars() {
        match character {
            _ if character.is_control() || is_direction(character) => text.extend(character.escape_default()),
            _ => text.push(character),
        }
    }
    if cut.len() < bytes.len() {
        text.push('…');
    }
    text
}

/// Returns whether a character breaks a line or changes the direction of text on a terminal.
fn is_direction(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_spelled_out() {
        assert_eq!(excerpt("a\n\u{1b}[31m\u{202e}ü".as_bytes(), 100), "a\\n\\u{1b}[31m\\u{202e}ü");
        assert_eq!(excerpt(b"abcdef", 3), "abc…");
        assert_eq!(excerpt(b"\xff", 3), "\u{fffd}");
    }
}
