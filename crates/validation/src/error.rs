//! Errors of schemas. Each message lets the author correct the schema.

use thiserror::Error;

use crate::draft::Draft;

/// The schema cannot be used. Places are JSON Pointers into the schema's document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The document is not JSON.
    #[error("the schema file is not JSON: {detail}")]
    NotJson {
        /// Message of the parser, with line and column.
        detail: String,
    },
    /// The pointer names no value in the document.
    #[error(
        "the pointer \"{pointer}\" leads to nothing in the schema file: give a JSON Pointer such as /definitions/Order"
    )]
    NoSuchPointer {
        /// The pointer.
        pointer: String,
    },
    /// The value in the place of a schema is neither an object nor true or false.
    #[error("{} is {found}, but a schema is an object, true or false", place(at))]
    NotASchema {
        /// Place of the value.
        at: String,
        /// Kind of the value.
        found: &'static str,
    },
    /// `$schema` names a draft that no engine supports.
    #[error(
        "\"$schema\" names {uri}, which is not a known draft: use 4, 6, 7 (http://json-schema.org/draft-07/schema#), \
         2019-09 or 2020-12"
    )]
    UnknownDraft {
        /// Value of `$schema`.
        uri: String,
    },
    /// The chosen engine does not support this draft.
    #[error(
        "the schema is written in {draft}, which the engine {engine} does not read: choose the engine jsonschema"
    )]
    UnreadDraft {
        /// Draft of the schema.
        draft: Draft,
        /// Name of the engine.
        engine: &'static str,
    },
    /// The schema names no draft and uses a keyword of a later draft. Engines would silently ignore the keyword.
    #[error(
        "{} uses \"{keyword}\", which draft 7 does not know; a schema without \"$schema\" is read as draft 7: add \
         \"$schema\": \"https://json-schema.org/draft/2020-12/schema\" to the file",
        place(at)
    )]
    LaterKeyword {
        /// Place of the schema that uses the keyword.
        at: String,
        /// The keyword.
        keyword: String,
    },
    /// A reference into this document has no target.
    #[error("the $ref \"{reference}\" in {} leads to nothing in this file", place(at))]
    ReferenceNowhere {
        /// Place of the schema that holds the reference.
        at: String,
        /// The reference.
        reference: String,
    },
    /// A reference names another file or a network address.
    #[error(
        "the $ref \"{reference}\" in {} leads out of this file; other files and the network are never read: copy what \
         it names into \"definitions\" and refer to it as #/definitions/NAME",
        place(at)
    )]
    ReferenceOutside {
        /// Place of the schema that holds the reference.
        at: String,
        /// The reference.
        reference: String,
    },
    /// References form a cycle that never goes one level deeper into the event.
    #[error(
        "a $ref leads back to itself without looking at any member: {path}; a schema may contain itself only inside \
         \"properties\", \"items\" and the like"
    )]
    ReferenceCycle {
        /// The cycle, as places joined by arrows.
        path: String,
    },
    /// The target of a reference depends on the referring schema.
    #[error("{} uses \"{keyword}\", which is not supported: use \"$ref\"", place(at))]
    DynamicReference {
        /// Place of the schema that uses the keyword.
        at: String,
        /// The keyword.
        keyword: String,
    },
    /// The schema violates the rules of its own draft.
    #[error("{} is not valid {draft}: {detail}", place(at))]
    Invalid {
        /// Place of the fault.
        at: String,
        /// Draft of the schema.
        draft: Draft,
        /// Description of the fault.
        detail: String,
    },
    /// A regular expression cannot be used.
    #[error(
        "the pattern \"{pattern}\" in {} cannot be used: {detail}; patterns take time proportional to the text, so \
         look-around and back-references are not available",
        place(at)
    )]
    Pattern {
        /// Place of the schema that holds the pattern.
        at: String,
        /// The pattern, shortened.
        pattern: String,
        /// Description of the fault.
        detail: String,
    },
    /// `x-ordering-key` is not the name of a member.
    #[error("\"x-ordering-key\" must be the name of a top-level member of the event, such as \"userId\"")]
    OrderingKey,
    /// The engine refuses the schema for another reason.
    #[error("the engine {engine} refuses the schema: {detail}")]
    Refused {
        /// Name of the engine.
        engine: &'static str,
        /// Message of the engine.
        detail: String,
    },
}

fn place(at: &str) -> String {
    if at.is_empty() { "the schema".to_owned() } else { format!("the schema at {at}") }
}
