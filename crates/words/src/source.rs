//! Finds the texts of Rust sources: string literals, which are the messages of a program, and comments.

/// Returns the comments of a source as a page. Every other line of the source is an empty line of the page.
pub fn comments(source: &str) -> String {
    let mut page = String::new();
    for line in source.lines() {
        if let Some(comment) = line.trim_start().strip_prefix("//") {
            let comment = comment.strip_prefix(['/', '!']).unwrap_or(comment);
            page.push_str(comment.strip_prefix(' ').unwrap_or(comment));
        }
        page.push('\n');
    }
    page
}

/// Returns the string literals of a source. The flag tells whether a literal is the text of an error.
pub fn literals(source: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut rest = source;
    let mut before = String::new();
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
            continue;
        }
        if let Some((text, after)) = literal(rest) {
            found.push((before.trim_end().ends_with("#[error("), text));
            before.push('"');
            rest = after;
            continue;
        }
        // A quote as a character literal begins no string.
        let taken = if rest.starts_with("'\"'") { 3 } else { c.len_utf8() };
        before.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    found
}

/// Parses the literal at the start of a source. Returns its text and the rest of the source.
fn literal(source: &str) -> Option<(String, &str)> {
    if let Some(raw) = source.strip_prefix("r#\"") {
        let (text, after) = raw.split_once("\"#")?;
        return Some((text.to_owned(), after));
    }
    let inner = source.strip_prefix('"')?;
    let (mut text, mut characters) = (String::new(), inner.char_indices());
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((text, &inner[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => text.push('\n'),
                '\n' => {
                    while inner[characters.offset()..].starts_with(char::is_whitespace) {
                        characters.next();
                    }
                }
                other => text.push(other),
            },
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_keep_their_lines() {
        let source = "//! One.\nuse x;\n    /// Two\n    ///   - three\nlet y = 1; // four";
        assert_eq!(comments(source), "One.\n\nTwo\n  - three\n\n");
    }

    #[test]
    fn literals_are_found_and_errors_are_told_apart() {
        let source =
            "#[error(\"one two {x} \\\n      three\")] let c = '\"'; // \"no text\"\nlet t = \"four\";";
        assert_eq!(literals(source), [(true, "one two {x} three".to_owned()), (false, "four".to_owned())]);
    }
}
