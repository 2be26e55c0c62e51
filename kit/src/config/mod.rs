//! Config: typed settings from defaults, a TOML file, the environment and flags.
//!
//! A process declares its settings with [`config!`](crate::config!), whose doc comments are also
//! the sample file that [`sample()`] renders; [`load`] fills them in. Later sources win: defaults,
//! file, `HEDDLE_SECTION__FIELD` variables, flags.
//!
//! Invariant: a setting that does not exist is an error where a person wrote it (file, flags), and
//! errors name field and source but never show a value, since a value may be a secret.

mod error;
#[macro_use]
mod declare;
mod environment;
mod sample;
mod secret;

use std::path::Path;

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{ConfigError, Problem};
pub use sample::sample;
pub use secret::Secret;
#[doc(hidden)]
pub use serde;

/// Settings declared by [`config!`](crate::config!).
pub trait Config: Serialize + DeserializeOwned + Default + Send + 'static {
    /// Its fields, in the order in which they are declared.
    const FIELDS: &'static [Field];
}

/// One declared setting.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name, as in TOML.
    pub name: &'static str,
    /// Its doc comment, line by line.
    pub docs: &'static [&'static str],
    /// The fields within, if it is a section.
    pub section: Option<&'static [Field]>,
}

/// Loads `C` from all four sources. `flags` is whatever serialises into the shape of `C`; its
/// absent (`None`) values leave the other sources alone.
pub fn load<C: Config>(file: Option<&Path>, flags: impl Serialize) -> Result<C, ConfigError> {
    let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    load_from(file, std::env::vars_os().filter_map(readable), flags)
}

fn load_from<C: Config>(
    file: Option<&Path>,
    variables: impl Iterator<Item = (String, String)>,
    flags: impl Serialize,
) -> Result<C, ConfigError> {
    let mut sources = Figment::from(Serialized::defaults(C::default()));
    if let Some(path) = file {
        if !path.is_file() {
            return Err(ConfigError::no_file(path));
        }
        sources = sources.merge(Toml::file_exact(path));
    }
    for variable in environment::ours(C::FIELDS, variables) {
        sources = sources.merge(variable);
    }
    let flags = Value::serialize(flags).map_err(ConfigError::from)?;
    let flags = present(flags).and_then(Value::into_dict);
    let sources = sources.merge(Flags(flags.unwrap_or_default()));
    sources.extract().map_err(ConfigError::from)
}

/// A value without its absent parts.
fn present(value: Value) -> Option<Value> {
    match value {
        Value::Empty(..) => None,
        Value::Dict(tag, dict) => {
            let parts = dict.into_iter();
            let parts = parts.filter_map(|(key, part)| Some((key, present(part)?)));
            Some(Value::Dict(tag, parts.collect::<Dict>()))
        }
        other => Some(other),
    }
}

/// The command line as a source with a name, for error messages.
struct Flags(Dict);

impl Provider for Flags {
    fn metadata(&self) -> Metadata {
        Metadata::named("a command line flag")
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

#[cfg(test)]
mod tests;
