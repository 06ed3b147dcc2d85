//! The folder of upcasters: one file with a JSON Patch (RFC 6902) for each upcaster.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use config::{Map, Value as Setting};
use domain::{Upcasters, ports::EventUpcaster, upcast::KEPT_MEMBERS};
use json_patch::Patch;
use serde_json::Value;

use super::{
    error::SettingsError,
    values::{anchored_path, raw},
};

const NAMES: &str = "name the file TYPE@FROM-to-TO.json, such as order.placed@1.0-to-2.0.json";
const PATCHES: &str = "an upcaster is a list of operations, as RFC 6902 says: \
                       [{\"op\":\"move\",\"from\":\"/data/cents\",\"path\":\"/data/amount\"}]";
const SETS: &str = "each version of a type has one upcaster at most, and each chain has an end";

/// The folder that the setting `upcasters` names. Its files are read when events are delivered or planned, so a broken
/// file stops no other command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpcasterFolder(Option<PathBuf>);

impl UpcasterFolder {
    pub(super) fn read(tree: &Map<String, Setting>) -> Result<Self, SettingsError> {
        let raw = raw(tree, "upcasters")?;
        Ok(Self(raw.text.map(|path| anchored_path(path, &raw.origin))))
    }

    /// Reads the upcasters of the folder. Without a folder, the set is empty.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when the folder or a file cannot be read, when a file is not named like an upcaster, or
    /// when a file has no valid patch. Also returns it when two upcasters take one version, or lead in a circle.
    pub fn load(&self) -> Result<Arc<dyn EventUpcaster>, SettingsError> {
        let Some(folder) = &self.0 else { return Ok(Arc::new(Upcasters::default())) };
        let mut upcasters = Upcasters::builder();
        for path in files(folder).map_err(|error| unreadable(folder, &error))? {
            let (event_type, from, to) = names(&path).ok_or_else(|| {
                let what = format!("{} does not name a type and two versions", path.display());
                SettingsError::invalid(what).hint(NAMES)
            })?;
            let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
            let patch = patch(&text).map_err(|what| {
                SettingsError::invalid(format!("the upcaster {}: {what}", path.display())).hint(PATCHES)
            })?;
            upcasters = upcasters.event(event_type, from, to, move |event| apply(&patch, event));
        }
        let built = upcasters.build().map_err(|error| {
            SettingsError::invalid(format!("the upcasters in {}: {error}", folder.display())).hint(SETS)
        })?;
        Ok(Arc::new(built))
    }
}

fn unreadable(path: &Path, error: &io::Error) -> SettingsError {
    SettingsError::invalid(format!("{} cannot be read: {error}", path.display()))
        .hint("the setting upcasters names a folder of upcasters")
}

/// Returns the JSON files of a folder, by name.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the event type and the two versions from the name of a file: `TYPE@FROM-to-TO.json`.
fn names(path: &Path) -> Option<(&str, &str, &str)> {
    let (event_type, versions) = path.file_stem()?.to_str()?.rsplit_once('@')?;
    let (from, to) = versions.split_once("-to-")?;
    let is_named = [event_type, from, to].iter().all(|name| !name.is_empty());
    is_named.then_some((event_type, from, to))
}

/// Reads a patch, and refuses a change of the members that identify an event.
fn patch(text: &str) -> Result<Patch, String> {
    let operations: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    for (at, operation) in operations.as_array().into_iter().flatten().enumerate() {
        if let Some(member) = kept_member(operation) {
            return Err(format!("operation {at} changes /{member}, which identifies the event"));
        }
    }
    serde_json::from_value(operations).map_err(|error| format!("it is not a JSON Patch: {error}"))
}

/// Returns the member of [`KEPT_MEMBERS`] that an operation of a patch changes.
fn kept_member(operation: &Value) -> Option<&'static str> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let changed = match text("op")? {
        "test" => [None, None],
        "move" => [text("path"), text("from")],
        _ => [text("path"), None],
    };
    let members = changed.into_iter().flatten().filter_map(|pointer| pointer.split('/').nth(1));
    members.into_iter().find_map(|member| KEPT_MEMBERS.into_iter().find(|kept| *kept == member))
}

fn apply(patch: &Patch, mut event: Value) -> Result<Value, json_patch::PatchError> {
    json_patch::patch(&mut event, patch)?;
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Arc<dyn EventUpcaster>, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        for (name, text) in files {
            fs::write(folder.path().join(name), text).map_err(|error| error.to_string())?;
        }
        UpcasterFolder(Some(folder.path().to_owned())).load().map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_a_type_and_two_versions() {
        let named = |name: &str| {
            let path = PathBuf::from(name);
            names(&path).map(|(event_type, from, to)| [event_type, from, to].map(str::to_owned))
        };
        let expected = ["order.placed", "1.0", "2.0-rc.1"].map(str::to_owned);
        assert_eq!(named("u/order.placed@1.0-to-2.0-rc.1.json"), Some(expected));
        for name in ["order.placed.json", "order.placed@1.0-2.0.json", "@1.0-to-2.0.json", "a@-to-2.json"] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn a_folder_is_a_chain_and_other_files_are_ignored() {
        let upcasters = load(&[
            ("a@1.0-to-1.1.json", "[]"),
            ("a@1.1-to-2.0.json", r#"[{"op":"test","path":"/id","value":"e"}]"#),
            ("README.md", "not a patch"),
        ]);
        let targets = upcasters.map(|upcasters| upcasters.target("a", "1.0").map(str::to_owned));
        assert_eq!(targets, Ok(Some("2.0".to_owned())));
        let empty = UpcasterFolder::default().load().map(|upcasters| upcasters.target("a", "1.0").is_none());
        assert!(empty.is_ok_and(|is_none| is_none));
    }

    #[test]
    fn a_broken_file_is_refused_with_its_name_and_the_reason() {
        for (files, said) in [
            (vec![("a@1.0-2.0.json", "[]")], "a@1.0-2.0.json does not name a type and two versions"),
            (vec![("a@1-to-2.json", "[")], "a@1-to-2.json: it is not JSON"),
            (vec![("a@1-to-2.json", "{}")], "a@1-to-2.json: it is not a JSON Patch"),
            (
                vec![("a@1-to-2.json", r#"[{"op":"remove","path":"/id"}]"#)],
                "a@1-to-2.json: operation 0 changes /id, which identifies the event",
            ),
            (
                vec![("a@1-to-2.json", r#"[{"op":"move","from":"/type","path":"/data/t"}]"#)],
                "operation 0 changes /type",
            ),
            (vec![("a@1-to-2.json", "[]"), ("a@1-to-3.json", "[]")], "two upcasters take a 1"),
            (vec![("a@1-to-2.json", "[]"), ("a@2-to-1.json", "[]")], "lead in a circle: 1 to 2 to 1"),
        ] {
            let error = load(&files).err().unwrap_or_default();
            assert!(error.contains(said), "{error:?} lacks {said:?}");
        }
    }
}
