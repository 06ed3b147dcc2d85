//! JSON Pointers (RFC 6901): construction, and the resolution of paths with unescaped names.

use serde_json::Value;

/// Returns the pointer to a member of the value at `parent`.
pub(crate) fn child(parent: &str, name: &str) -> String {
    let mut pointer = String::with_capacity(parent.len() + name.len() + 1);
    pointer.push_str(parent);
    pointer.push('/');
    for character in name.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
    pointer
}

/// Returns whether `ancestor` points to the value at `pointer`, or to a value that contains it.
pub(crate) fn encloses(ancestor: &str, pointer: &str) -> bool {
    pointer.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Resolves an unescaped path. Returns the pointer to its value, or none if there is no such value.
///
/// Names may contain `/`, so the function tries several readings. It visits each node of the value at most once.
pub(crate) fn of_raw_path(value: &Value, raw: &str) -> Option<String> {
    descend(value, raw, String::new(), false)
}

/// Resolves the place of a missing member. The path is the unescaped path of its object, joined with the name of the
/// member.
pub(crate) fn of_raw_path_to_missing(value: &Value, raw: &str) -> Option<String> {
    descend(value, raw, String::new(), true)
}

fn descend(value: &Value, raw: &str, so_far: String, missing: bool) -> Option<String> {
    if raw.is_empty() {
        return (!missing).then_some(so_far);
    }
    let rest = raw.strip_prefix('/')?;
    match value {
        Value::Object(map) => {
            let through = map
                .iter()
                .filter_map(|(key, item)| {
                    let tail = rest.strip_prefix(key.as_str())?;
                    (tail.is_empty() || tail.starts_with('/')).then_some((key, item, tail))
                })
                .find_map(|(key, item, tail)| descend(item, tail, child(&so_far, key), missing));
            through.or_else(|| (missing && !map.contains_key(rest)).then(|| child(&so_far, rest)))
        }
        Value::Array(list) => {
            let (index, tail) = rest.find('/').map_or((rest, ""), |end| rest.split_at(end));
            let item = list.get(index.parse::<usize>().ok()?)?;
            descend(item, tail, child(&so_far, index), missing)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_with_slashes_and_tildes_are_escaped_once() {
        let value = json!({"a/b": {"~": [1, {"x": 2}]}});
        assert_eq!(of_raw_path(&value, "/a/b/~/1/x").as_deref(), Some("/a~1b/~0/1/x"));
        assert_eq!(value.pointer("/a~1b/~0/1/x"), Some(&json!(2)));
    }

    #[test]
    fn a_path_takes_the_reading_that_leads_somewhere() {
        let value = json!({"a": {"b": 1}, "a/b": {"c": 2}});
        assert_eq!(of_raw_path(&value, "/a/b").as_deref(), Some("/a/b"));
        assert_eq!(of_raw_path(&value, "/a/b/c").as_deref(), Some("/a~1b/c"));
        assert_eq!(of_raw_path(&value, "/a/z"), None);
    }

    #[test]
    fn a_missing_member_is_placed_in_the_deepest_object_that_lacks_it() {
        let value = json!({"data": {"user": {}}});
        assert_eq!(of_raw_path_to_missing(&value, "/data/user/email").as_deref(), Some("/data/user/email"));
        assert_eq!(of_raw_path_to_missing(&value, "/data/user/a/b").as_deref(), Some("/data/user/a~1b"));
        assert_eq!(of_raw_path_to_missing(&value, "/email").as_deref(), Some("/email"));
    }

    #[test]
    fn an_ancestor_ends_at_a_whole_name() {
        assert!(encloses("/a", "/a/b") && encloses("", "/a") && encloses("/a", "/a"));
        assert!(!encloses("/a", "/ab"));
    }
}
