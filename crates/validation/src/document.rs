//! Schema files. The text of a file is parsed at most once, and all types that use the file share it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::draft::Draft;
use crate::error::SchemaError;
use crate::resources::Resources;

/// A schema file.
#[derive(Debug)]
pub(crate) struct Document {
    text: String,
    parsed: OnceLock<Result<Parsed, SchemaError>>,
}

/// The parsed content of a schema file.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    pub(crate) resources: Resources,
}

impl Document {
    pub(crate) fn new(text: String) -> Self {
        Self { text, parsed: OnceLock::new() }
    }

    /// Returns the parsed file. The first call parses it.
    pub(crate) fn parsed(&self) -> Result<&Parsed, SchemaError> {
        self.parsed.get_or_init(|| parse(&self.text)).as_ref().map_err(Clone::clone)
    }
}

fn parse(text: &str) -> Result<Parsed, SchemaError> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| SchemaError::NotJson { detail: error.to_string() })?;
    let draft = Draft::declared(&value, &value)?.unwrap_or(Draft::Draft7);
    let resources = Resources::of(&value, draft);
    Ok(Parsed { value, resources })
}

/// Schema files by their text. Files with the same text are kept once, because a hundred types may share one large
/// file.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    by_length: HashMap<usize, Vec<Arc<Document>>>,
}

impl Documents {
    /// Returns the document with this text, if it is known.
    pub(crate) fn find(&self, text: &str) -> Option<Arc<Document>> {
        self.by_length.get(&text.len())?.iter().find(|known| known.text == text).cloned()
    }

    /// Keeps a document, so that other types can share it.
    pub(crate) fn keep(&mut self, document: &Arc<Document>) {
        let alike = self.by_length.entry(document.text.len()).or_default();
        if !alike.iter().any(|known| known.text == document.text) {
            alike.push(Arc::clone(document));
        }
    }
}
