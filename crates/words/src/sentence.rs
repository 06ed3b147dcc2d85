//! Splits text into sentences, and sentences into words.

/// Abbreviations whose full stop does not end a sentence.
const ABBREVIATIONS: &[&str] = &["e.g.", "i.e.", "etc.", "cf.", "vs."];

/// Maximum number of words in a label at the start of a paragraph or an entry, as in "**Cost.** One file on one disk".
const LABEL: usize = 2;

pub(crate) struct Sentence {
    /// The line on which the block begins.
    pub line: usize,
    pub text: String,
    /// The words in lower case, without surrounding punctuation.
    pub words: Vec<String>,
    /// Whether the sentence counts for the average. Headings, labels and most table cells do not count.
    pub counts: bool,
}

/// Returns the sentences of a block. Sentences of prose count for the average. In other blocks, only sentences with a
/// final full stop, question mark or exclamation mark count.
pub(crate) fn sentences(line: usize, block: &str, prose: bool) -> Vec<Sentence> {
    let text = without_code(block).replace('\n', " ");
    split(&text)
        .into_iter()
        .map(|text| {
            let words = words(text);
            let sentence = prose || text.trim_end().ends_with(['.', '?', '!']);
            Sentence { line, counts: sentence && words.len() > LABEL, words, text: text.to_owned() }
        })
        .filter(|sentence| !sentence.words.is_empty())
        .collect()
}

/// Replaces code with one word that begins with a capital, because a sentence may begin with code.
pub(crate) fn without_code(text: &str) -> String {
    let (mut rest, mut plain) = (text, String::new());
    while let Some(start) = rest.find('`') {
        let fence = &rest[start..][..rest[start..].find(|c| c != '`').unwrap_or(rest.len() - start)];
        let inner = &rest[start + fence.len()..];
        let Some(end) = inner.find(fence) else { break };
        plain.push_str(&rest[..start]);
        plain.push_str("CODE");
        rest = &inner[end + fence.len()..];
    }
    plain + rest
}

fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    for (at, _) in text.match_indices(['.', '!', '?']) {
        let closers = text[at + 1..].find(|c| !")]\"”'*_".contains(c)).unwrap_or(text.len() - at - 1);
        let end = at + 1 + closers;
        let next = text[end..].trim_start_matches(|c: char| c.is_whitespace() || "*_\"“([".contains(c));
        let spaced = text[end..].starts_with(char::is_whitespace);
        let begins = next.chars().next().is_some_and(|c| !c.is_lowercase());
        let abbreviated = ABBREVIATIONS.iter().any(|short| text[..=at].to_lowercase().ends_with(short));
        if spaced && begins && !abbreviated {
            parts.push(&text[from..end]);
            from = end;
        }
    }
    parts.push(&text[from..]);
    parts
}

fn words(sentence: &str) -> Vec<String> {
    sentence
        .split(|c: char| c.is_whitespace() || c == '—')
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(block: &str) -> Vec<String> {
        sentences(1, block, true).iter().map(|one| one.text.trim().to_owned()).collect()
    }

    #[test]
    fn a_full_stop_ends_a_sentence_where_the_next_begins() {
        assert_eq!(
            texts("One. Two (three.) **Four.** `five` six"),
            ["One.", "Two (three.)", "**Four.**", "CODE six"]
        );
        assert_eq!(texts("Rust 1.95, e.g. This, is\none"), ["Rust 1.95, e.g. This, is one"]);
        assert_eq!(texts("Is it? Yes!"), ["Is it?", "Yes!"]);
    }

    #[test]
    fn words_have_no_punctuation_and_code_is_one() {
        let one = &sentences(1, "**The** `a b c` and ``d ` e``, too - (once).", true)[0];
        assert_eq!(one.words, ["the", "code", "and", "code", "too", "once"]);
    }
}
