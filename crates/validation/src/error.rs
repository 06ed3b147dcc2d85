//! Why a schema is refused, in words that let its author fix it.

use thiserror::Error;

use crate::draft::Draft;

/// Why a schema cannot be used. Places are JSON Pointers into the schema's document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The document is no JSON.
    #[error("the schema file is not JSON: {detail}")]
    NotJson {
        /// What the parser said, with line and column.
        detail: String,
    },
    /// The pointer leads to nothing in the document.
    #[error(
        "the pointer \"{pointer}\" leads to nothing in the schema file: give a JSON Pointer such as /definitions/Order"
    )]
    NoSuchPointer {
        /// The pointer.
        pointer: String,
    },
    /// What should be a schema is neither an object nor true or false.
    #[error("{} is {found}, but a schema is an object, true or false", place(at))]
    NotASchema {
        /// Where.
        at: String,
        /// What was found there.
        found: &'static str,
    },
    /// `$schema` names something that no engine knows.
    #[error(
        "\"$schema\" names {uri}, which is not a known draft: use 4, 6, 7 (http://json-schema.org/draft-07/schema#), \
         2019-09 or 2020-12"
    )]
    UnknownDraft {
        /// What `$schema` says.
        uri: String,
    },
    /// The chosen engine does not read this draft.
    #[error(
        "the schema is written in {draft}, which the engine {engine} does not read: choose the engine jsonschema"
    )]
    UnreadDraft {
        /// The draft.
        draft: Draft,
        /// The engine's name.
        engine: &'static str,
    },
    /// A keyword of a later draft in a schema that does not name its draft: it would be ignored in silence.
    #[error(
        "{} uses \"{keyword}\", which draft 7 does not know; a schema without \"$schema\" is read as draft 7: add \
         \"$schema\": \"https://json-schema.org/draft/2020-12/schema\" to the file",
        place(at)
    )]
    LaterKeyword {
        /// The schema that uses it.
        at: String,
        /// The keyword.
        keyword: String,
    },
    /// A reference into this document that leads to nothing.
    #[error("the $ref \"{reference}\" in {} leads to nothing in this file", place(at))]
    ReferenceNowhere {
        /// The schema that holds the reference.
        at: String,
        /// The reference.
        reference: String,
    },
    /// A reference to another file or over the network.
    #[error(
        "the $ref \"{reference}\" in {} leads out of this file; other files and the network are never read: copy what \
         it names into \"definitions\" and refer to it as #/definitions/NAME",
        place(at)
    )]
    ReferenceOutside {
        /// The schema that holds the reference.
        at: String,
        /// The reference.
        reference: String,
    },
    /// References that lead back to where they began without going one level deeper into the event.
    #[error(
        "a $ref leads back to itself without looking at any member: {path}; a schema may contain itself only inside \
         \"properties\", \"items\" and the like"
    )]
    ReferenceCycle {
        /// The round trip, as places joined by arrows.
        path: String,
    },
    /// A reference that depends on who asks.
    #[error("{} uses \"{keyword}\", which is not supported: use \"$ref\"", place(at))]
    DynamicReference {
        /// The schema that uses it.
        at: String,
        /// The keyword.
        keyword: String,
    },
    /// The schema breaks the rules of its own draft.
    #[error("{} is not valid {draft}: {detail}", place(at))]
    Invalid {
        /// Where.
        at: String,
        /// The draft.
        draft: Draft,
        /// What is wrong.
        detail: String,
    },
    /// A regular expression that cannot be used.
    #[error(
        "the pattern \"{pattern}\" in {} cannot be used: {detail}; patterns take time proportional to the text, so \
         look-around and back-references are not available",
        place(at)
    )]
    Pattern {
        /// The schema that holds the pattern.
        at: String,
        /// The pattern, shortened.
        pattern: String,
        /// What is wrong with it.
        detail: String,
    },
    /// `x-ordering-key` is not the name of a member.
    #[error("\"x-ordering-key\" must be the name of a top-level member of the event, such as \"userId\"")]
    OrderingKey,
    /// The engine refuses the schema for a reason of its own.
    #[error("the engine {engine} refuses the schema: {detail}")]
    Refused {
        /// The engine's name.
        engine: &'static str,
        /// What it said.
        detail: String,
    },
}

fn place(at: &str) -> String {
    if at.is_empty() { "the schema".to_owned() } else { format!("the schema at {at}") }
}
