//! Checks the language of messages and documents. Only tests use this crate.
//!
//! The rule is short declarative sentences in words of the field. No sentence has more than [`LONGEST`] words. The
//! sentences of a page have at most [`MEAN`] words on average. No sentence uses a phrase of [`BANNED`].
//!
//! A test of messages calls [`check_text`] for each message, such as the [`literals`] of a source. A test of pages
//! calls [`check_page`] for each file. Both tests fail if the call returns a fault. Code is not checked: fenced blocks
//! are skipped, and text between backticks counts as one word.
//!
//! ```
//! let faults = event_replay_words::check_text("Nobody answered.");
//! assert_eq!(faults[0].to_string(), r#"line 1: "nobody", write name the actor: "no consumer", "no process": Nobody answered."#);
//! assert!(event_replay_words::check_text("The server did not answer within 5 s.").is_empty());
//! ```

mod banned;
mod page;
mod sentence;
mod source;

use std::fmt;

pub use banned::{BANNED, Banned};
use banned::{NO_SUBJECTS, SUBJECT_VERBS};
use sentence::{Sentence, sentences};
pub use source::{comments, literals};

/// Maximum number of words in a sentence.
pub const LONGEST: usize = 30;
/// Maximum average number of words in the sentences of a page.
pub const MEAN: usize = 18;

/// A fault of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The sentence uses a banned phrase.
    Banned(Banned),
    /// The sentence begins with a pronoun in place of a subject, as in "What was stored stays".
    Subject(String),
    /// The sentence has this number of words, more than [`LONGEST`].
    Long(usize),
    /// The sentences of the page have more than [`MEAN`] words on average.
    Mean {
        /// The number of words in all sentences.
        words: usize,
        /// The number of sentences.
        sentences: usize,
    },
}

/// A fault and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line on which the block of text begins, counted from 1.
    pub line: usize,
    /// The fault.
    pub fault: Fault,
    /// The sentence. Empty for [`Fault::Mean`].
    pub sentence: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, sentence, .. } = self;
        match &self.fault {
            Fault::Banned(Banned { phrase, instead }) => {
                write!(f, "line {line}: \"{phrase}\", write {instead}: {sentence}")
            }
            Fault::Subject(start) => {
                write!(f, "line {line}: \"{start}\" is no subject, name the thing: {sentence}")
            }
            Fault::Long(words) => write!(f, "line {line}: {words} words, {LONGEST} are allowed: {sentence}"),
            Fault::Mean { words, sentences } => {
                write!(f, "{words} words in {sentences} sentences, {MEAN} a sentence are allowed")
            }
        }
    }
}

/// Returns the faults of a message. A sentence ends with a full stop, a question mark or an exclamation mark.
pub fn check_text(text: &str) -> Vec<Finding> {
    sentences(1, text, true).iter().flat_map(faults).collect()
}

/// Returns the faults of a Markdown page, in the order of its lines. A fault of the average comes last.
pub fn check_page(markdown: &str) -> Vec<Finding> {
    let sentences = page::sentences_of(markdown);
    let mut found: Vec<Finding> = sentences.iter().flat_map(faults).collect();
    let counted: Vec<usize> = sentences.iter().filter(|one| one.counts).map(|one| one.words.len()).collect();
    let words: usize = counted.iter().sum();
    if words > MEAN * counted.len() {
        let fault = Fault::Mean { words, sentences: counted.len() };
        found.push(Finding { line: 1, fault, sentence: String::new() });
    }
    found
}

/// Returns the number of words in the sentences of a page, and the number of these sentences.
pub fn measure_page(markdown: &str) -> (usize, usize) {
    let sentences = page::sentences_of(markdown);
    let counted = sentences.iter().filter(|one| one.counts);
    counted.fold((0, 0), |(words, count), one| (words + one.words.len(), count + 1))
}

fn faults(sentence: &Sentence) -> Vec<Finding> {
    let spaced = format!(" {} ", sentence.words.join(" "));
    let mut faults: Vec<Fault> = BANNED
        .iter()
        .filter(|banned| spaced.contains(&format!(" {} ", banned.phrase)))
        .map(|banned| Fault::Banned(*banned))
        .collect();
    faults.extend(pronoun_as_subject(sentence).map(Fault::Subject));
    if sentence.words.len() > LONGEST {
        faults.push(Fault::Long(sentence.words.len()));
    }
    let finding = |fault| Finding { line: sentence.line, fault, sentence: sentence.text.trim().to_owned() };
    faults.into_iter().map(finding).collect()
}

fn pronoun_as_subject(sentence: &Sentence) -> Option<String> {
    let (first, second) = (sentence.words.first()?, sentence.words.get(1)?);
    let question = sentence.text.trim_end().ends_with('?');
    let subject = NO_SUBJECTS.contains(&first.as_str());
    let hides = sentence.counts || SUBJECT_VERBS.contains(&second.as_str());
    (subject && hides && !question).then(|| format!("{first} {second}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page without a fault that uses every Markdown construct.
    const PAGE: &str = include_str!("../tests/page.md");

    /// Sentences with one fault each, which the test adds to that page.
    const PLANTED: [&str; 10] = [
        "Nobody reads the log while the store is closed.",
        "The lease goes to whoever asks first.",
        "After a crash an event may come\nagain.",
        "Those that fail are stored as dead letters.",
        "What was stored stays in the log.",
        "The recovery runs *in earnest* without the flag.",
        "- An entry of a list: the segment is lost for good.",
        "| a cell | the file is written anew |",
        "### What is stored",
        "The consumer renews its leases every third of the lease time, and the store refuses each commit that names an \
         old lease, so that a consumer which lost a segment changes nothing.",
    ];

    #[test]
    fn a_page_of_plain_sentences_has_no_fault() {
        assert_eq!(check_page(PAGE), []);
    }

    #[test]
    fn each_of_ten_planted_sentences_is_found_with_its_line() {
        let lines = PAGE.lines().count();
        for planted in PLANTED {
            let found = check_page(&format!("{PAGE}\n{planted}\n"));
            assert_eq!(found.len(), 1, "{planted}: {found:?}");
            assert_eq!(found[0].line, lines + 2, "{planted}");
        }
    }

    #[test]
    fn a_mean_above_the_limit_is_found() {
        let long = "This sentence has twenty words, fewer than the limit for one, and the whole page has nothing else in \
                    it.";
        assert_eq!(check_text(long), []);
        let mean = Fault::Mean { words: 40, sentences: 2 };
        let found = check_page(&format!("{long} {long}"));
        assert_eq!(found, [Finding { line: 1, fault: mean, sentence: String::new() }]);
        assert_eq!(check_page(&format!("{long} It is short.")), []);
        assert_eq!(measure_page(&format!("# A title\n\n{long}\n")), (20, 1));
    }

    #[test]
    fn a_message_is_checked_as_a_page_is() {
        let of = |text: &str| check_text(text).into_iter().map(|found| found.fault).collect::<Vec<_>>();
        assert_eq!(of("no event matches {filter}; check the filter with `list`"), []);
        assert_eq!(of("what is a segment?"), []);
        assert_eq!(of("what is stored stays"), [Fault::Subject("what is".to_owned())]);
        assert!(matches!(
            of("the file is gone for good")[..],
            [Fault::Banned(Banned { phrase: "for good", .. })]
        ));
        assert_eq!(of("`whoever` is the name of a column"), []);
        assert_eq!(of(&format!("{}end.", "word ".repeat(30))), [Fault::Long(31)]);
        assert_eq!(of(&format!("{}end. {}end.", "word ".repeat(20), "Word ".repeat(20))), []);
    }

    #[test]
    fn banned_phrases_are_in_the_form_in_which_they_are_compared() {
        for Banned { phrase, instead } in BANNED {
            assert_eq!(&sentences(1, phrase, true)[0].words.join(" "), phrase);
            assert!(!instead.is_empty(), "{phrase}");
        }
    }
}
