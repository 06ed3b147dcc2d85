//! Formats JSON for people, token by token. Numbers and strings keep their original text.

/// Formats a JSON text with two spaces per level.
///
/// The text must be valid JSON. This function uses no parser, because a parser would change numbers of thirty digits.
pub(crate) fn pretty(json: &str, indent: usize) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = indent;
    let mut rest = json.trim_start();
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '"' => {
                let end = string_end(rest);
                out.push_str(rest.get(..end).unwrap_or(rest));
                end
            }
            '{' | '[' => {
                let inner = rest.get(1..).unwrap_or_default().trim_start();
                if inner.starts_with(['}', ']']) {
                    out.push_str(if c == '{' { "{}" } else { "[]" });
                    rest.len() - inner.len() + 1
                } else {
                    out.push(c);
                    depth += 1;
                    new_line(&mut out, depth);
                    1
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
                1
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
                1
            }
            ':' => {
                out.push_str(": ");
                1
            }
            c if c.is_ascii_whitespace() => 1,
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Returns the end of the string at the start of the text, including the closing quote.
fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_as_they_were_written() {
        let json = "{\"a\":1.50,\r\n\"b\":[ ],\"c\":{},\"d\":[123456789012345678901234567890,\"x\\\",{[:\"], \"é\" : null}";
        assert_eq!(
            pretty(json, 0),
            "{\n  \"a\": 1.50,\n  \"b\": [],\n  \"c\": {},\n  \"d\": [\n    123456789012345678901234567890,\n    \"x\\\",{[:\"\n  ],\n  \"é\": null\n}"
        );
    }
}
