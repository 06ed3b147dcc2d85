//! The commands to try next. They work as printed, from the folder where the demo ran.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Commands on the store that the demo leaves behind.
const COMMANDS: [&str; 6] = [
    "list --user-id user-123 --limit 5",
    "show event-456789",
    "stats",
    "dead-letters list --state handled --limit 3",
    "replay-correlation workflow-abc-123 --dry-run",
    "recover demo-halfway --type payment.processed --target stdout --limit 3",
];

/// Returns the shell line that names the store, and the commands.
pub(super) fn steps(store: &Path) -> (String, Vec<String>) {
    let store = format!("export EVENT_REPLAY_STORE={}", quoted(&format!("sqlite:{}", store.display())));
    let program = quoted(&program());
    (store, COMMANDS.iter().map(|command| format!("{program} {command}")).collect())
}

/// Returns the name by which a shell finds this program. Returns a path if the search path does not lead to it.
fn program() -> String {
    let Ok(here) = env::current_exe() else { return "event-replay".to_owned() };
    let name = here.file_name().unwrap_or_default();
    let same = |found: PathBuf| matches!((fs::canonicalize(found), fs::canonicalize(&here)), (Ok(a), Ok(b)) if a == b);
    let searched = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&searched).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_some_and(same) {
        return name.to_string_lossy().into_owned();
    }
    let folder = env::current_dir().unwrap_or_default();
    match here.strip_prefix(&folder) {
        Ok(below) if below.components().count() > 1 => below.display().to_string(),
        Ok(below) => format!("./{}", below.display()),
        Err(_) => here.display().to_string(),
    }
}

/// Returns the text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted("sqlite:/home/ann/demo.db"), "sqlite:/home/ann/demo.db");
        assert_eq!(quoted("/a b/it's.db"), r"'/a b/it'\''s.db'");
    }
}
