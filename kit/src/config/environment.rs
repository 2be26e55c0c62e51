//! Environment: settings from variables, each a source of its own, so that errors name it.
//!
//! `HEDDLE_SERVE__STREAMS_MAX=100` is `serve.streams_max`.
//!
//! Invariant: a variable that names no field at the top of our settings is left alone. Kubernetes
//! sets `HEDDLE_GATEWAY_SERVICE_HOST` and the like for a service called `heddle-gateway`.

use std::convert::Infallible;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::Field;

/// What every variable of ours begins with.
const PREFIX: &str = "HEDDLE_";
/// What parts a section's name from a field's.
const NESTING: &str = "__";

/// One variable.
pub(super) struct Variable {
    name: String,
    /// The field that it sets, with dots.
    field: String,
    value: Value,
}

/// Those of `variables` that set one of `fields`.
pub(super) fn ours(
    fields: &'static [Field],
    variables: impl Iterator<Item = (String, String)>,
) -> impl Iterator<Item = Variable> {
    variables.filter_map(move |(name, value)| {
        let field = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
        let field = field.replace(NESTING, ".");
        let first = field.split('.').next()?;
        fields.iter().find(|known| known.name == first)?;
        // Numbers, booleans and lists are read as such, everything else is text.
        let value = value
            .parse()
            .unwrap_or_else(|never: Infallible| match never {});
        Some(Variable { name, field, value })
    })
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        let nested = figment::util::nest(&self.field, self.value.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}
