//! Extraction of a self-contained schema: the schema and the schemas that it refers to, without the rest of a
//! possibly huge document.
//!
//! Constraints: a file may hold hundreds of definitions, and a type may use a dozen of them. Names of definitions may
//! hold any character. Engines differ in the resolution of references, and in the treatment of a reference without a
//! target. So this module resolves every reference once. It copies the target to `definitions` under a number, and
//! drops annotations. An engine sees only `#`, `#/definitions/3`, and keywords that check values.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::document::Parsed;
use crate::draft::Draft;
use crate::error::SchemaError;
use crate::keywords::{Applicator, Keyword, Shape, classify, later_than_draft_7};
use crate::pointer::child;
use crate::sentence::kind_of;

/// A schema without annotations. Each of its references points to `#` or to one of its own definitions.
#[derive(Debug, Clone)]
pub struct SelfContained {
    /// The schema.
    pub schema: Value,
    /// Draft of the schema.
    pub draft: Draft,
}

/// A self-contained schema, with the sources of its parts.
#[derive(Debug)]
pub(crate) struct Flattened {
    pub(crate) schema: SelfContained,
    /// Pointers into the document to each copied schema. The first one is the schema itself.
    pub(crate) sources: Vec<String>,
}

/// Extracts the schema at `pointer` with the schemas that it refers to.
pub(crate) fn flatten(parsed: &Parsed, pointer: &str) -> Result<Flattened, SchemaError> {
    let entry = parsed
        .value
        .pointer(pointer)
        .ok_or_else(|| SchemaError::NoSuchPointer { pointer: pointer.to_owned() })?;
    let declared = Draft::declared(entry, &parsed.value)?;
    let mut copier = Copier {
        parsed,
        draft: declared.unwrap_or(Draft::Draft7),
        draft_is_declared: declared.is_some(),
        sources: vec![pointer.to_owned()],
        numbers: HashMap::from([(pointer.to_owned(), 0)]),
        in_place: Vec::new(),
        current: 0,
    };
    let mut copies = Vec::new();
    while let Some(source) = copier.sources.get(copies.len()).cloned() {
        copier.current = copies.len();
        copier.in_place.push(Vec::new());
        let original = parsed.value.pointer(&source).unwrap_or(&Value::Null);
        copies.push(copier.schema(original, &source, true)?);
    }
    copier.refuse_cycles()?;
    let draft = copier.draft;
    Ok(Flattened {
        schema: SelfContained { schema: assemble(copies, draft), draft },
        sources: copier.sources,
    })
}

/// Puts the first copy at the root and the other copies under their numbers.
fn assemble(copies: Vec<Value>, draft: Draft) -> Value {
    let mut copies = copies.into_iter();
    let entry = copies.next().unwrap_or(Value::Bool(true));
    let definitions: Map<String, Value> =
        copies.enumerate().map(|(n, copy)| ((n + 1).to_string(), copy)).collect();
    let mut root = match entry {
        Value::Object(map) if !map.contains_key("$ref") => map,
        other if definitions.is_empty() => return other,
        other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
    };
    if !definitions.is_empty() {
        root.insert(draft.definitions_keyword().to_owned(), Value::Object(definitions));
    }
    Value::Object(root)
}

struct Copier<'a> {
    parsed: &'a Parsed,
    draft: Draft,
    draft_is_declared: bool,
    sources: Vec<String>,
    numbers: HashMap<String, usize>,
    /// For each copied schema, the copied schemas that it applies to the same value.
    in_place: Vec<Vec<usize>>,
    current: usize,
}

impl Copier<'_> {
    fn schema(&mut self, original: &Value, at: &str, in_place: bool) -> Result<Value, SchemaError> {
        let object = match original {
            Value::Bool(_) => return Ok(original.clone()),
            Value::Object(object) => object,
            other => return Err(SchemaError::NotASchema { at: at.to_owned(), found: kind_of(other) }),
        };
        if let Some(keyword) = later_than_draft_7(object).filter(|_| !self.draft_is_declared) {
            return Err(SchemaError::LaterKeyword { at: at.to_owned(), keyword: keyword.to_owned() });
        }
        let mut copy = Map::new();
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            let target = self.reference(at, reference, in_place)?;
            copy.insert("$ref".to_owned(), Value::String(target));
            if self.draft.ref_hides_siblings() {
                return Ok(Value::Object(copy));
            }
        }
        for (key, value) in object {
            match classify(key, self.draft) {
                Keyword::Applies(applicator) => {
                    let held = self.held(applicator, value, &child(at, key), in_place)?;
                    copy.insert(key.clone(), held);
                }
                Keyword::Asserts if key != "$ref" => {
                    copy.insert(key.clone(), value.clone());
                }
                Keyword::Dynamic => {
                    return Err(SchemaError::DynamicReference { at: at.to_owned(), keyword: key.clone() });
                }
                Keyword::Asserts | Keyword::Defines | Keyword::Remark => {}
            }
        }
        Ok(Value::Object(copy))
    }

    /// Copies the schemas that an applicator holds. A value of the wrong shape is copied unchanged, and the check of
    /// the schema reports it.
    fn held(
        &mut self,
        by: &Applicator,
        value: &Value,
        at: &str,
        in_place: bool,
    ) -> Result<Value, SchemaError> {
        let in_place = in_place && by.in_place;
        match (value, by.shape) {
            (Value::Array(list), Shape::Many | Shape::OneOrMany) => {
                let copies = list
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.schema(item, &child(at, &index.to_string()), in_place));
                copies.collect::<Result<_, _>>().map(Value::Array)
            }
            (Value::Object(map), Shape::Map | Shape::Dependencies) => {
                let copies = map.iter().map(|(name, item)| {
                    let copy = match item {
                        Value::Array(_) if by.shape == Shape::Dependencies => item.clone(),
                        schema => self.schema(schema, &child(at, name), in_place)?,
                    };
                    Ok((name.clone(), copy))
                });
                copies.collect::<Result<_, _>>().map(Value::Object)
            }
            (one, Shape::One | Shape::OneOrMany) => self.schema(one, at, in_place),
            _ => Ok(value.clone()),
        }
    }

    fn reference(&mut self, at: &str, reference: &str, in_place: bool) -> Result<String, SchemaError> {
        let target = self.parsed.resources.resolve(&self.parsed.value, at, reference)?;
        let next = self.sources.len();
        let number = *self.numbers.entry(target.clone()).or_insert(next);
        if number == next {
            self.sources.push(target);
        }
        if in_place && let Some(list) = self.in_place.get_mut(self.current) {
            list.push(number);
        }
        Ok(if number == 0 {
            "#".to_owned()
        } else {
            format!("#/{}/{number}", self.draft.definitions_keyword())
        })
    }

    /// Refuses cycles of references. With such a cycle, an engine would check the same value against the same schema
    /// without end.
    fn refuse_cycles(&self) -> Result<(), SchemaError> {
        let mut finished = vec![false; self.sources.len()];
        for start in 0..self.sources.len() {
            // Depth-first search with an explicit stack, because a chain of references may be longer than the call
            // stack allows.
            let mut path: Vec<(usize, usize)> = vec![(start, 0)];
            while let Some((node, edge)) = path.last().copied() {
                let next = self.in_place.get(node).and_then(|edges| edges.get(edge)).copied();
                let Some(next) = next.filter(|_| !finished[node]) else {
                    finished[node] = true;
                    path.pop();
                    continue;
                };
                if let Some(last) = path.last_mut() {
                    last.1 += 1;
                }
                if let Some(from) = path.iter().position(|(seen, _)| *seen == next) {
                    let names = path[from..].iter().map(|(n, _)| *n).chain([next]).map(|n| self.name(n));
                    return Err(SchemaError::ReferenceCycle {
                        path: names.collect::<Vec<_>>().join(" → ")
                    });
                }
                path.push((next, 0));
            }
        }
        Ok(())
    }

    fn name(&self, number: usize) -> String {
        format!("#{}", self.sources.get(number).map_or("", String::as_str))
    }
}
