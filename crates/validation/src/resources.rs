//! Resolution of `$ref`: base URIs, anchors and pointers within one document, by the rules of RFC 3986.

use std::collections::HashMap;

use serde_json::Value;
use url::Url;

use crate::draft::Draft;
use crate::error::SchemaError;
use crate::keywords::each_subschema;
use crate::pointer::encloses;

/// Base URI of a document without its own URI. The program never fetches it.
const NAMELESS: &str = "schema-file://this/";

/// The parts of a document that references can name.
#[derive(Debug)]
pub(crate) struct Resources {
    /// Pointer and base URI of each schema that has its own URI. The document itself is first.
    bases: Vec<(String, Url)>,
    by_uri: HashMap<String, String>,
    by_anchor: HashMap<(String, String), String>,
}

impl Resources {
    /// Indexes a document.
    pub(crate) fn of(document: &Value, draft: Draft) -> Self {
        let mut found = Self { bases: Vec::new(), by_uri: HashMap::new(), by_anchor: HashMap::new() };
        if let Ok(nameless) = Url::parse(NAMELESS) {
            found.enter(String::new(), nameless.clone());
            found.index(document, "", &nameless, draft);
        }
        found
    }

    fn enter(&mut self, pointer: String, mut base: Url) {
        base.set_fragment(None);
        self.by_uri.entry(base.to_string()).or_insert_with(|| pointer.clone());
        self.bases.push((pointer, base));
    }

    fn index(&mut self, schema: &Value, pointer: &str, base: &Url, draft: Draft) {
        let Some(object) = schema.as_object() else { return };
        let mut base = base.clone();
        let hidden = draft.ref_hides_siblings() && object.contains_key("$ref");
        if let Some(id) = object.get(draft.id_keyword()).and_then(Value::as_str).filter(|_| !hidden) {
            if let Some(anchor) = id.strip_prefix('#') {
                self.anchor(&base, anchor, pointer);
            } else if let Ok(own) = base.join(id) {
                base = own;
                self.enter(pointer.to_owned(), base.clone());
            }
        }
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = object.get(keyword).and_then(Value::as_str) {
                self.anchor(&base, anchor, pointer);
            }
        }
        each_subschema(object, |suffix, inner| {
            self.index(inner, &format!("{pointer}{suffix}"), &base, draft);
        });
    }

    fn anchor(&mut self, base: &Url, name: &str, pointer: &str) {
        let mut base = base.clone();
        base.set_fragment(None);
        self.by_anchor.entry((base.into(), name.to_owned())).or_insert_with(|| pointer.to_owned());
    }

    /// Returns the pointer to the target of a reference in the schema at `at`.
    pub(crate) fn resolve(&self, document: &Value, at: &str, reference: &str) -> Result<String, SchemaError> {
        let outside = || SchemaError::ReferenceOutside { at: at.to_owned(), reference: reference.to_owned() };
        let nowhere = || SchemaError::ReferenceNowhere { at: at.to_owned(), reference: reference.to_owned() };
        let base =
            self.bases.iter().filter(|(pointer, _)| encloses(pointer, at)).max_by_key(|(p, _)| p.len());
        let mut uri = base.and_then(|(_, base)| base.join(reference).ok()).ok_or_else(outside)?;
        let fragment = decoded(uri.fragment().unwrap_or_default()).ok_or_else(nowhere)?;
        uri.set_fragment(None);
        let resource = self.by_uri.get(uri.as_str()).ok_or_else(outside)?;
        if fragment.is_empty() {
            return Ok(resource.clone());
        }
        if !fragment.starts_with('/') {
            return self.by_anchor.get(&(uri.into(), fragment)).cloned().ok_or_else(nowhere);
        }
        let pointer = format!("{resource}{fragment}");
        document.pointer(&pointer).map(|_| pointer).ok_or_else(nowhere)
    }
}

/// Decodes percent-encoding. Returns `None` if the result is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let pair = (first == b'%').then(|| tail.get(..2)).flatten();
        let escaped = pair.and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { tail.get(2..)? } else { tail };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolve(document: &Value, at: &str, reference: &str) -> Result<String, SchemaError> {
        Resources::of(document, Draft::Draft7).resolve(document, at, reference)
    }

    #[test]
    fn pointers_are_percent_decoded_and_then_unescaped() {
        let document = json!({"definitions": {"a b": {}, "c/d": {}, "X$Y": {}}});
        assert_eq!(resolve(&document, "", "#/definitions/a%20b").unwrap(), "/definitions/a b");
        assert_eq!(resolve(&document, "", "#/definitions/c~1d").unwrap(), "/definitions/c~1d");
        assert_eq!(resolve(&document, "", "#/definitions/X$Y").unwrap(), "/definitions/X$Y");
        assert_eq!(resolve(&document, "", "#").unwrap(), "");
    }

    #[test]
    fn a_document_may_call_itself_by_its_own_name() {
        let document = json!({"$id": "https://example.com/order.json", "definitions": {"a": {}}});
        for reference in ["https://example.com/order.json#/definitions/a", "order.json#/definitions/a"] {
            assert_eq!(resolve(&document, "/properties/x", reference).unwrap(), "/definitions/a");
        }
    }

    #[test]
    fn a_schema_with_an_id_of_its_own_is_the_base_of_what_it_holds() {
        let document = json!({"$id": "https://example.com/a.json", "definitions": {
            "b": {"$id": "b.json", "definitions": {"c": {"$id": "#sea"}}}
        }});
        assert_eq!(
            resolve(&document, "/definitions/b", "#/definitions/c").unwrap(),
            "/definitions/b/definitions/c"
        );
        assert_eq!(resolve(&document, "", "b.json#sea").unwrap(), "/definitions/b/definitions/c");
    }

    #[test]
    fn what_is_not_in_the_document_is_told_apart_from_what_is_elsewhere() {
        let document = json!({"definitions": {}});
        let nowhere = resolve(&document, "", "#/definitions/none").unwrap_err();
        assert!(matches!(nowhere, SchemaError::ReferenceNowhere { .. }));
        for reference in ["https://example.com/x.json", "other.json#/a", "file:///etc/passwd", "/etc/passwd"]
        {
            let outside = resolve(&document, "", reference).unwrap_err();
            assert!(matches!(outside, SchemaError::ReferenceOutside { .. }), "{reference}: {outside}");
        }
    }
}
