//! The differences of two JSON documents, by JSON pointer.

use std::{fmt, str::FromStr};

use serde::Serialize;

use super::json_tree::JsonTree;

/// The segment of an ignored pointer that stands for any member or element.
const ANY: &str = "*";

/// A member or element that differs. A side without the member has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The JSON pointer (RFC 6901). It is empty for the whole document.
    pub pointer: String,
    /// The value in the old document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<JsonTree>,
    /// The value in the new document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<JsonTree>,
}

/// An operation of a JSON Patch (RFC 6902).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PatchOperation {
    /// `add`, `remove` or `replace`.
    pub op: &'static str,
    /// The JSON pointer.
    pub path: String,
    /// The new value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<JsonTree>,
}

impl Difference {
    /// Returns the operation that changes the old document. The operations of all differences, in their order, are a
    /// JSON Patch.
    pub fn operation(&self) -> PatchOperation {
        let op = match (&self.old, &self.new) {
            (None, _) => "add",
            (_, None) => "remove",
            _ => "replace",
        };
        PatchOperation { op, path: self.pointer.clone(), value: self.new.clone() }
    }
}

/// A JSON pointer to a member that a comparison ignores, with everything below it. A segment `*` stands for any member
/// or element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredPointer(Vec<String>);

impl FromStr for IgnoredPointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('/') {
            Some(rest) => Ok(Self(rest.split('/').map(unescaped).collect())),
            None => Err("a JSON pointer begins with /, such as /body/generatedAt".to_owned()),
        }
    }
}

impl IgnoredPointer {
    fn is(&self, path: &[String]) -> bool {
        let Self(own) = self;
        own.len() == path.len() && own.iter().zip(path).all(|(own, other)| own == ANY || own == other)
    }
}

impl fmt::Display for IgnoredPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pointer(&self.0))
    }
}

/// Returns the JSON pointer of a path.
pub(super) fn pointer(path: &[String]) -> String {
    path.iter().map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1"))).collect()
}

fn unescaped(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

/// Returns the differences of two documents. Members are in alphabetical order. Elements are compared by their index,
/// and removed elements are in descending order, as a JSON Patch needs them.
pub fn differences(old: &JsonTree, new: &JsonTree, ignored: &[IgnoredPointer]) -> Vec<Difference> {
    let mut comparison = Comparison { ignored, path: Vec::new(), found: Vec::new() };
    comparison.compare(Some(old), Some(new));
    comparison.found
}

struct Comparison<'a> {
    ignored: &'a [IgnoredPointer],
    path: Vec<String>,
    found: Vec<Difference>,
}

impl Comparison<'_> {
    fn compare(&mut self, old: Option<&JsonTree>, new: Option<&JsonTree>) {
        if self.ignored.iter().any(|pointer| pointer.is(&self.path)) {
            return;
        }
        match (old, new) {
            (Some(JsonTree::Object(old)), Some(JsonTree::Object(new))) => {
                let added = new.keys().filter(|name| !old.contains_key(*name));
                let mut names: Vec<&String> = old.keys().chain(added).collect();
                names.sort();
                for name in names {
                    self.below(name.clone(), old.get(name), new.get(name));
                }
            }
            (Some(JsonTree::Array(old)), Some(JsonTree::Array(new))) => {
                let common = old.len().min(new.len());
                let removed = (common..old.len()).rev();
                for index in (0..common).chain(removed).chain(common..new.len()) {
                    self.below(index.to_string(), old.get(index), new.get(index));
                }
            }
            (old, new) if old == new => {}
            (old, new) => {
                let pointer = pointer(&self.path);
                self.found.push(Difference { pointer, old: old.cloned(), new: new.cloned() });
            }
        }
    }

    fn below(&mut self, segment: String, old: Option<&JsonTree>, new: Option<&JsonTree>) {
        self.path.push(segment);
        self.compare(old, new);
        self.path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn found(old: &str, new: &str, ignored: &[&str]) -> Vec<String> {
        let ignored: Vec<IgnoredPointer> = ignored.iter().map(|text| text.parse().unwrap()).collect();
        let text = |value: &Option<JsonTree>| {
            value.as_ref().map_or("-".to_owned(), |value| serde_json::to_string(value).unwrap())
        };
        let [old, new] = [old, new].map(|text| JsonTree::parse(text).unwrap());
        differences(&old, &new, &ignored)
            .iter()
            .map(|found| format!("{} {} {}", found.pointer, text(&found.old), text(&found.new)))
            .collect()
    }

    #[test]
    fn each_difference_has_its_pointer_and_both_values() {
        assert_eq!(found(r#"{"a":1,"b":{"c":[1,2]}}"#, r#"{"b":{"c":[1,2.0]},"a":1.0}"#, &[]), [""; 0]);
        assert_eq!(
            found(
                r#"{"gone":1,"a/b":{"~":true},"n":null,"l":[1,2,3]}"#,
                r#"{"a/b":{"~":"x"},"new":{},"n":0,"l":[1]}"#,
                &[]
            ),
            ["/a~1b/~0 true \"x\"", "/gone 1 -", "/l/2 3 -", "/l/1 2 -", "/n null 0", "/new - {}"]
        );
        assert_eq!(found("[]", "{}", &[]), [" [] {}"]);
    }

    #[test]
    fn ignored_members_are_left_out_with_everything_below() {
        let (old, new) =
            (r#"{"at":1,"rows":[{"id":1,"n":1},{"id":2}]}"#, r#"{"rows":[{"id":3,"n":2},{"id":4}]}"#);
        assert_eq!(found(old, new, &["/at", "/rows/*/id"]), ["/rows/0/n 1 2"]);
        assert_eq!(found(old, new, &["/at", "/rows"]), [""; 0]);
        assert_eq!(found(r#"{"a/b":1}"#, "{}", &["/a~1b"]), [""; 0]);
        assert!("at".parse::<IgnoredPointer>().is_err());
        assert_eq!("/a~1b/*".parse::<IgnoredPointer>().unwrap().to_string(), "/a~1b/*");
    }

    #[test]
    fn the_operations_are_a_patch_that_makes_the_new_document() {
        let documents = [
            "{}",
            "[]",
            "null",
            r#"{"a":1}"#,
            r#"{"a":[1,2,3,{"x":1}],"b/c":{"d":null}}"#,
            r#"{"a":[3,2],"b/c":{"d":{"~e":[]}},"":0}"#,
            r#"{"a":[1,2,3,{"x":2},5,6]}"#,
        ];
        for old in documents {
            for new in documents {
                let [one, other] = [old, new].map(|text| JsonTree::parse(text).unwrap());
                let patch: Vec<PatchOperation> =
                    differences(&one, &other, &[]).iter().map(Difference::operation).collect();
                let patch: json_patch::Patch =
                    serde_json::from_str(&serde_json::to_string(&patch).unwrap()).unwrap();
                let mut value: Value = serde_json::from_str(old).unwrap();
                json_patch::patch(&mut value, &patch).unwrap();
                assert_eq!(value, serde_json::from_str::<Value>(new).unwrap(), "{old} {new}");
            }
        }
    }
}
