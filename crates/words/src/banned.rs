//! The words that no message and no page may use. This is the only list of them.

/// A phrase that no text may use, and the words to write in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Banned {
    /// The phrase in lower case, with one space between two words.
    pub phrase: &'static str,
    /// The words to write instead.
    pub instead: &'static str,
}

const fn banned(phrase: &'static str, instead: &'static str) -> Banned {
    Banned { phrase, instead }
}

/// Every banned phrase. A phrase matches in any case, as whole words, outside of code.
pub const BANNED: &[Banned] = &[
    // Subjects that hide the actor.
    banned("nobody", "name the actor: \"no consumer\", \"no process\""),
    banned("somebody", "name the actor: \"an operator\", \"another process\""),
    banned("whoever", "name the actor: \"the consumer that …\""),
    banned("whosoever", "name the actor"),
    banned("those that", "repeat the noun"),
    banned("those who", "repeat the noun"),
    banned("the one that", "repeat the noun"),
    banned("the ones that", "repeat the noun"),
    // Words that a reader must look up.
    banned("anew", "again, from the start"),
    banned("so-manieth", "the number of …"),
    banned("in earnest", "for real, or the name of the flag"),
    banned("for good", "permanently"),
    banned("come again", "be delivered again"),
    banned("comes again", "is delivered again"),
    banned("came again", "was delivered again"),
    banned("coming again", "redelivery"),
    banned("tell of", "report"),
    banned("tells of", "reports"),
    banned("told of", "receives, is notified of"),
    banned("telling of", "reporting"),
    banned("its place back", "rejoined, restarted"),
    banned("their place back", "rejoined, restarted"),
    banned("their places back", "rejoined, restarted"),
    banned("in the midst of", "during"),
    banned("as they must be", "no problems found"),
    banned("unsound", "invalid"),
    banned("dawdle", "be slow"),
    banned("dawdles", "is slow"),
    banned("mend", "fix"),
    banned("mends", "fixes"),
    banned("mended", "fixed"),
    banned("come back", "return, restart"),
    banned("comes back", "returns, restarts"),
    banned("is back", "is available again, failed again"),
    banned("are back", "are available again, failed again"),
    banned("not ours", "unexpected, of another program"),
    banned("let go", "release"),
    banned("go on", "continue"),
    banned("goes on", "continues"),
    banned("as it must be", "valid"),
    banned("wants to know", "needs"),
    banned("take in", "import, accept"),
    banned("takes in", "imports, accepts"),
    banned("too few to say", "not enough data"),
    // Words for persons. Servers, files and clocks are not persons.
    banned("is alive", "is running"),
    banned("are alive", "are running"),
    banned("lets in", "accepts connections"),
    banned("another one than", "was replaced, restarted"),
    banned("holds up", "delays, blocks"),
    banned("hold up", "delay, block"),
    banned("held up", "delayed, blocked"),
    banned("takes no notice", "ignores"),
    banned("take no notice", "ignore"),
];

/// Words that may begin a question, but no statement: "What was stored stays" hides its subject.
pub(crate) const NO_SUBJECTS: &[&str] = &["what", "who", "whatever", "whichever"];

/// Verbs after a word of [`NO_SUBJECTS`]. Such a pair may not begin a heading or a table cell either.
pub(crate) const SUBJECT_VERBS: &[&str] = &["is", "was", "has", "are", "were", "had"];
