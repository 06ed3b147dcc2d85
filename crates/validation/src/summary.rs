//! Summaries of schemas, for lists: the members, the description and the ordering key.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::check::ORDERING_KEY;
use crate::document::Parsed;
use crate::flatten::Flattened;
use crate::pointer::child;

/// Most levels of references and `allOf`s in which members are searched.
const DEPTH: usize = 8;

/// The summary of a schema.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) description: Option<String>,
    pub(crate) ordering_key: Option<String>,
    pub(crate) required: Vec<String>,
    pub(crate) optional: Vec<String>,
}

/// Summarises a schema of a whole event, or a schema of the value at `base` in an event.
pub(crate) fn summarise(parsed: &Parsed, flattened: &Flattened, base: &str) -> Summary {
    let words = |keyword: &str| {
        let mut sources = flattened.sources.iter().filter_map(|source| parsed.value.pointer(source));
        // A schema that consists of a reference takes its texts from the target.
        let entry = sources.next();
        let named = entry.filter(|entry| entry.get("$ref").is_some()).and_then(|_| sources.next());
        let found = [entry, named].into_iter().flatten().find_map(|schema| schema.get(keyword)?.as_str());
        found.map(str::to_owned)
    };
    let mut members = Members::default();
    members.collect(&flattened.schema.schema, &flattened.schema.schema, base, DEPTH);
    if base.is_empty() {
        members.collect_data(&flattened.schema.schema);
    }
    let optional = members.known.difference(&members.required).cloned().collect();
    Summary {
        description: words("description").or_else(|| words("title")),
        ordering_key: words(ORDERING_KEY),
        required: members.required.into_iter().collect(),
        optional,
    }
}

#[derive(Default)]
struct Members {
    known: BTreeSet<String>,
    required: BTreeSet<String>,
}

impl Members {
    fn collect(&mut self, root: &Value, schema: &Value, base: &str, depth: usize) {
        each_layer(root, schema, depth, &mut |layer| {
            if let Some(properties) = layer.get("properties").and_then(Value::as_object) {
                self.known.extend(properties.keys().map(|name| child(base, name)));
            }
            if let Some(required) = layer.get("required").and_then(Value::as_array) {
                self.required.extend(required.iter().filter_map(Value::as_str).map(|name| child(base, name)));
            }
        });
    }

    /// Collects the members of `data` from a schema of the whole event.
    fn collect_data(&mut self, root: &Value) {
        each_layer(root, root, DEPTH, &mut |layer| {
            if let Some(data) = layer.get("properties").and_then(|properties| properties.get("data")) {
                self.collect(root, data, "/data", DEPTH);
            }
        });
    }
}

/// Visits a schema, the targets of its references, and the parts of its `allOf`.
fn each_layer(root: &Value, schema: &Value, depth: usize, visit: &mut dyn FnMut(&Map<String, Value>)) {
    let (Some(object), Some(depth)) = (schema.as_object(), depth.checked_sub(1)) else { return };
    visit(object);
    if let Some(reference) = object.get("$ref").and_then(Value::as_str)
        && let Some(target) = root.pointer(reference.trim_start_matches('#'))
    {
        each_layer(root, target, depth, visit);
    }
    for part in object.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        each_layer(root, part, depth, visit);
    }
}
