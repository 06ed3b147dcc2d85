//! Splits a Markdown page into the sentences that a reader sees.

use crate::sentence::{Sentence, sentences, without_code};

/// A block of text that is being collected: the lines of a paragraph or of a list entry.
#[derive(Default)]
struct Block {
    line: usize,
    text: String,
}

/// Returns the sentences of paragraphs, lists, quotes, headings and table cells, in the order of the page.
pub(crate) fn sentences_of(markdown: &str) -> Vec<Sentence> {
    let (mut found, mut block, mut fenced) = (Vec::new(), Block::default(), false);
    for (number, raw) in markdown.lines().enumerate() {
        let line = raw.trim_start().trim_start_matches("> ");
        let fence = line.starts_with("```");
        if fence || fenced || line.is_empty() || line.starts_with('<') {
            block.end(&mut found);
            fenced ^= fence;
        } else if line.starts_with('#') {
            block.end(&mut found);
            found.extend(sentences(number + 1, &without_links(line), false));
        } else if line.starts_with('|') {
            block.end(&mut found);
            for cell in without_code(&without_links(line)).split('|') {
                found.extend(sentences(number + 1, cell, false));
            }
        } else {
            let text = entry(line);
            if text.len() < line.len() {
                block.end(&mut found);
            }
            block.push(number + 1, text);
        }
    }
    block.end(&mut found);
    found
}

impl Block {
    fn push(&mut self, line: usize, text: &str) {
        if self.text.is_empty() {
            self.line = line;
        }
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn end(&mut self, found: &mut Vec<Sentence>) {
        found.extend(sentences(self.line, &without_links(&self.text), true));
        self.text.clear();
    }
}

/// Returns the text of a list entry, or the whole line.
fn entry(line: &str) -> &str {
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = if number.len() < line.len() { number.strip_prefix(". ") } else { None };
    line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")).or(numbered).unwrap_or(line)
}

/// Replaces `[text](address)` with its text.
fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once(')').map_or(part, |(_, after)| after));
    }
    plain.replace('[', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_addresses_and_marks_of_lists_are_no_text() {
        let page = "# Title\n\nA [link\nhere](there.md#x), on\ntwo lines.\n- one\n  more line\n2. two\n\n```sh\nnobody\n```\n\
                    | `a|b` | c. d |\n|---|---|\n";
        let found: Vec<(usize, String, bool)> =
            sentences_of(page).into_iter().map(|one| (one.line, one.words.join(" "), one.counts)).collect();
        let expected = [
            (1, "title", false),
            (3, "a link here on two lines", true),
            (6, "one more line", true),
            (8, "two", false),
            (13, "code", false),
            (13, "c d", false),
        ];
        assert_eq!(found, expected.map(|(line, text, counts)| (line, text.to_owned(), counts)));
    }
}
