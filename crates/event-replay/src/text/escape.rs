//! Makes text from events safe for a terminal. No event can move the cursor, hide a line, or reverse the reading
//! direction.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns whether a character must be escaped on a terminal. Such characters are controls (C0, DEL, C1), characters
/// that change the direction of text, and line separators. Characters of zero width are included, because they hide
/// differences.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Returns one line of text, with unsafe characters as `\u{..}`.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            // A write to a string does not fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Returns text of several lines, such as a message with a hint. Line feeds stay, and other unsafe characters are
/// escaped.
pub fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Returns one line with at most `most` characters of the text. An ellipsis marks a cut.
pub fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return line(text).into_owned();
    }
    let cut: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", line(&cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_shown_not_obeyed() {
        assert_eq!(line("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(line("x\u{9b}y\r\n\u{7f}"), "x\\u{9b}y\\u{d}\\u{a}\\u{7f}");
        assert_eq!(line("\u{202e}txt.exe\u{2066}"), "\\u{202e}txt.exe\\u{2066}");
        assert_eq!(line("Zoë — 東京 🎓"), "Zoë — 東京 🎓");
        assert_eq!(lines("a\u{7}\nb"), "a\\u{7}\nb");
        assert_eq!(short("abcdef", 4), "abc…");
    }
}
