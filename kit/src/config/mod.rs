//! Config: typed settings from defaults, a TOML file, the environment and flags.
//!
//! A process declares its settings with [`config!`](crate::config!), whose doc comments are also
//! the sample file that [`sample`] renders; [`load`] fills them in. Later sources win: defaults,
//! file, `HEDDLE_SECTION__FIELD` variables, flags.
//!
//! Invariant: a setting that does not exist is an error where a person wrote it (file, flags), and
//! errors name field and source but never show a value, since a value may be a secret.

mod error;
#[macro_use]
mod declare;
mod sample;

use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{ConfigError, Problem};
pub use sample::sample;
#[doc(hidden)]
pub use serde;

/// What every variable of ours begins with.
pub const ENVIRONMENT_PREFIX: &str = "HEDDLE_";
/// What parts a section's name from a field's in a variable's name.
const ENVIRONMENT_NESTING: &str = "__";

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
    let mut sources = Figment::from(Serialized::defaults(C::default()));
    if let Some(path) = file {
        if !path.is_file() {
            return Err(ConfigError::no_file(path));
        }
        sources = sources.merge(Toml::file_exact(path));
    }
    let flags = Value::serialize(flags).map_err(ConfigError::from)?;
    let flags = present(flags)
        .and_then(Value::into_dict)
        .unwrap_or_default();
    sources
        .merge(environment(C::FIELDS))
        .merge(Flags(Serialized::globals(flags)))
        .extract()
        .map_err(ConfigError::from)
}

/// Our variables. Those that name no section or field of ours are left alone: Kubernetes sets
/// `HEDDLE_GATEWAY_SERVICE_HOST` and the like for a service called `heddle-gateway`.
fn environment(fields: &'static [Field]) -> Env {
    let ours = move |key: &figment::value::UncasedStr| {
        let name = key.as_str().to_ascii_lowercase();
        let first = name.split(ENVIRONMENT_NESTING).next().unwrap_or_default();
        fields.iter().any(|field| field.name == first)
    };
    Env::prefixed(ENVIRONMENT_PREFIX)
        .filter(ours)
        .split(ENVIRONMENT_NESTING)
}

/// A value without its absent parts.
fn present(value: Value) -> Option<Value> {
    match value {
        Value::Empty(..) => None,
        Value::Dict(tag, dict) => {
            let parts = dict
                .into_iter()
                .filter_map(|(key, part)| Some((key, present(part)?)));
            Some(Value::Dict(tag, parts.collect::<Dict>()))
        }
        other => Some(other),
    }
}

/// The command line as a source with a name, for error messages.
struct Flags(Serialized<Dict>);

impl figment::Provider for Flags {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named("command line flags")
    }

    fn data(&self) -> figment::error::Result<figment::value::Map<figment::Profile, Dict>> {
        self.0.data()
    }
}

#[cfg(test)]
mod tests;
