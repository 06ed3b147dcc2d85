//! The layers of settings, from lowest to highest precedence: defaults, file, environment, flags. Every value carries
//! its origin, so that an operator can trace a surprising value.

use std::path::{Path, PathBuf};

use config::{Config, ConfigBuilder, ConfigError, FileFormat, Map, Source, Value, builder::DefaultState};

use super::{
    contexts::Contexts,
    error::SettingsError,
    keys::{KEYS, set},
    origin::{CONTEXT, DEFAULT, STORE_FLAG},
    resolved::SettingsRequest,
};

/// The name of the settings file. It is in the working folder or in the user's configuration folder.
pub(crate) const FILE_NAME: &str = "event-replay.toml";

/// Values from this program, by their dotted names.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

impl Layer {
    fn set(&mut self, name: &str, value: &str, origin: &str) {
        self.0.insert(name.to_owned(), Value::new(Some(&origin.to_owned()), value));
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// Merges all layers into one tree.
pub(crate) fn tree(request: SettingsRequest<'_>) -> Result<Map<String, Value>, SettingsError> {
    let mut builder = Config::builder().add_source(defaults());
    if let Some(file) = settings_file(request.file)? {
        builder = builder.add_source(config::File::from(file).format(FileFormat::Toml));
    }
    // The current context is a lasting choice of the user, so the environment overrides it. A context from a flag
    // overrides the environment.
    if let Some(name) = Contexts::load()?.current.filter(|_| request.context.is_none()) {
        builder = builder.add_source(context(&name)?);
    }
    builder = builder.add_source(environment());
    if let Some(name) = request.context {
        builder = builder.add_source(context(name)?);
    }
    if let Some(store) = request.store {
        let mut flags = Layer::default();
        flags.set("store", store, STORE_FLAG);
        builder = builder.add_source(flags);
    }
    built(builder)
}

/// Returns the defaults, with a store in memory.
pub(crate) fn default_tree() -> Result<Map<String, Value>, SettingsError> {
    let mut store = Layer::default();
    store.set("store", "memory:", DEFAULT);
    built(Config::builder().add_source(defaults()).add_source(store))
}

fn built(builder: ConfigBuilder<DefaultState>) -> Result<Map<String, Value>, SettingsError> {
    let unreadable =
        |error: ConfigError| SettingsError::invalid(format!("the settings cannot be read: {error}"));
    builder.build().map_err(unreadable)?.collect().map_err(unreadable)
}

fn context(name: &str) -> Result<Layer, SettingsError> {
    let mut layer = Layer::default();
    layer.set("store", &Contexts::load()?.get(name)?.store, &format!("{CONTEXT}{name}"));
    Ok(layer)
}

fn defaults() -> Layer {
    let mut layer = Layer::default();
    for key in KEYS {
        if let Some(value) = key.default {
            layer.set(key.name, value, DEFAULT);
        }
    }
    layer
}

fn environment() -> Layer {
    let mut layer = Layer::default();
    for key in KEYS {
        if let Some((value, name)) = key.in_environment() {
            layer.set(key.name, &value, &name);
        }
    }
    if !layer.0.contains_key("store") {
        redis_variables(&mut layer);
    }
    layer
}

/// Reads the store from `REDIS_URL`, or from `REDIS_HOST` and `REDIS_PORT`. Older programs use these variables. So a
/// program that was configured for Redis never writes to another store.
fn redis_variables(layer: &mut Layer) {
    if let Some(url) = set("REDIS_URL") {
        return layer.set("store", &url, "REDIS_URL");
    }
    let (host, port) = (set("REDIS_HOST"), set("REDIS_PORT"));
    if host.is_some() || port.is_some() {
        let host = host.unwrap_or_else(|| "localhost".to_owned());
        let port = port.unwrap_or_else(|| "6379".to_owned());
        layer.set("store", &format!("redis://{host}:{port}"), "REDIS_HOST, REDIS_PORT");
    }
}

fn settings_file(named: Option<&Path>) -> Result<Option<PathBuf>, SettingsError> {
    if let Some(file) = named {
        return match file.is_file() {
            true => Ok(Some(file.to_owned())),
            false => {
                Err(SettingsError::invalid(format!("--config {}: there is no such file", file.display())))
            }
        };
    }
    let here = PathBuf::from(FILE_NAME);
    if here.is_file() {
        return Ok(Some(here));
    }
    let users =
        directories::ProjectDirs::from("", "", "event-replay").map(|dirs| dirs.config_dir().join(FILE_NAME));
    Ok(users.filter(|file| file.is_file()))
}
