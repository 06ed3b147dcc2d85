//! The location of the demo's store. Distinguishes an earlier demo's file from other files, which must not be touched.
//!
//! The first write of a demo is a checkpoint with a reserved name. A file without this checkpoint must not be replaced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use event_replay::{
    Access, StoreHandle, StoreLocation,
    app::{self, checkpoints::checkpoints, creation::remove_namespace},
    data_folder,
};
use generator::Settings;
use replay::NewCheckpoint;
use serde_json::{Map, Value};

use crate::{context::Context, errors::CliError, output::escape};

/// The name of the checkpoint before the first event.
pub(super) const START: &str = "demo-start";
const MADE_BY: &str = "event-replay demo";

/// The location of a demo's store.
pub(super) enum Home {
    /// A file, which stays after the demo.
    File(PathBuf),
    /// A separate namespace on a server, removed after the demo. Holds the store as `--store` takes it.
    Namespace(String),
}

impl Home {
    /// Chooses an unused namespace on the named server.
    pub(super) fn namespace(cx: &mut Context<'_>) -> Self {
        let name = format!("demo-{:x}", app::clock().now().as_microsecond());
        cx.settings.store = cx.settings.store.with_namespace(&name);
        Self::Namespace(cx.settings.store.to_string())
    }

    /// Returns the store as `--store` takes it.
    pub(super) fn store(&self) -> String {
        match self {
            Self::File(path) => format!("sqlite:{}", path.display()),
            Self::Namespace(store) => store.clone(),
        }
    }

    /// Removes the namespace. A file stays.
    pub(super) async fn clear(&self, cx: &Context<'_>) -> Result<(), CliError> {
        if let Self::File(_) = self {
            return Ok(());
        }
        let stores = cx.open(Access::Write).await?;
        Ok(remove_namespace(stores).await?)
    }
}

/// Returns the absolute path of the file, because the path is printed for use from other folders.
pub(super) fn resolve(path: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let path = match path {
        Some(path) => path,
        None => {
            let folder = data_folder().ok_or_else(|| {
                CliError::usage("there is no home folder to keep the demo's store in")
                    .hint("name a file: --path FILE")
            })?;
            folder.join("demo.db")
        }
    };
    // If the path is a symbolic link, the file behind the link is checked and replaced.
    fs::canonicalize(&path).or_else(|_| std::path::absolute(&path)).map_err(|error| {
        let shown = path.display().to_string();
        CliError::usage(format!("--path {}: {error}", escape::line(&shown)))
    })
}

/// Creates a new store. A file replaces the store of an earlier demo.
pub(super) async fn fresh(
    home: &Home,
    demo: &Settings,
    cx: &mut Context<'_>,
) -> Result<StoreHandle, CliError> {
    if let Home::File(path) = home {
        make_room(path, cx).await?;
    }
    let stores = cx.open(Access::Create).await?;
    let metadata = Map::from_iter([
        ("madeBy".to_owned(), Value::from(MADE_BY)),
        ("seed".to_owned(), Value::from(demo.seed)),
        ("events".to_owned(), Value::from(demo.events)),
    ]);
    checkpoints(&stores)
        .create(NewCheckpoint { name: START.to_owned(), metadata, ..NewCheckpoint::default() })
        .await?;
    Ok(stores)
}

/// Removes an earlier demo's store, and no other file.
async fn make_room(path: &Path, cx: &mut Context<'_>) -> Result<(), CliError> {
    cx.settings.store = StoreLocation::at_file(path.to_owned(), "demo");
    if fs::symlink_metadata(path).is_ok() {
        if !is_demo(cx).await {
            let name = escape::line(&path.display().to_string()).into_owned();
            return Err(CliError::failed(format!(
                "{name} is there already, and no demo made it; it was not touched"
            ))
            .hint("name another file: --path FILE"));
        }
        remove(path)?;
    }
    Ok(())
}

/// Returns whether a demo made the store. Returns false if the store cannot be read.
async fn is_demo(cx: &Context<'_>) -> bool {
    let Ok(stores) = cx.open(Access::Read).await else { return false };
    let start = stores.find_checkpoint(START).await;
    stores.close().await;
    matches!(start, Ok(Some(start)) if start.name == START && start.metadata.get("madeBy") == Some(&MADE_BY.into()))
}

/// Removes the store and its write-ahead log. The database file goes first.
fn remove(path: &Path) -> Result<(), CliError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let name = Path::new(&file).display().to_string();
                return Err(CliError::failed(format!(
                    "the earlier demo's file {} cannot be removed: {error}",
                    escape::line(&name)
                )));
            }
            _ => {}
        }
    }
    Ok(())
}
