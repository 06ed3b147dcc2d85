//! Changed members of JSON documents, as lines for people: the old value, then the new value.

use event_replay::app::json_tree::JsonTree;

use super::{escape, printer::json_text, style::Tone};
use crate::errors::CliError;

/// The longest value in a line, in characters.
const LONGEST: usize = 120;

/// Returns a changed member in colours: `~ /name: "Ann" → "Anna"`, `+ /phone: 1` or `- /phone: 1`.
pub(crate) fn line(
    pointer: &str,
    old: Option<&JsonTree>,
    new: Option<&JsonTree>,
) -> Result<String, CliError> {
    let name = match pointer {
        "" => "(the whole document)".into(),
        pointer => escape::line(pointer),
    };
    Ok(match (old, new) {
        (Some(old), Some(new)) => {
            let (sign, old) = (Tone::Warn.paint("~"), Tone::Bad.paint(&shown(old)?));
            format!("{sign} {name}: {old} → {}", Tone::Good.paint(&shown(new)?))
        }
        (None, Some(new)) => {
            format!("{} {name}: {}", Tone::Good.paint("+"), Tone::Good.paint(&shown(new)?))
        }
        (Some(old), None) => format!("{} {name}: {}", Tone::Bad.paint("-"), Tone::Bad.paint(&shown(old)?)),
        (None, None) => name.into_owned(),
    })
}

fn shown(value: &JsonTree) -> Result<String, CliError> {
    let json = json_text(value)?;
    Ok(escape::short(&String::from_utf8_lossy(&json), LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_pointer_and_the_values() {
        let said = |pointer: &str, old: Option<&str>, new: Option<&str>| {
            let [old, new] = [old, new].map(|text| text.map(|text| JsonTree::parse(text).unwrap()));
            let styled = line(pointer, old.as_ref(), new.as_ref()).unwrap();
            anstream::adapter::strip_str(&styled).to_string()
        };
        assert_eq!(said("/a", Some("1"), Some("\"x\"")), "~ /a: 1 → \"x\"");
        assert_eq!(said("/a", None, Some("{\"b\": [1.50]}")), "+ /a: {\"b\":[1.50]}");
        assert_eq!(said("/a", Some("null"), None), "- /a: null");
        assert_eq!(said("", Some("1"), Some("2")), "~ (the whole document): 1 → 2");
        let long = format!("\"{}\"", "x".repeat(500));
        assert_eq!(said("/a\u{1b}", None, Some(&long)).chars().count(), "+ /a\\u{1b}: ".len() + 120);
    }
}
