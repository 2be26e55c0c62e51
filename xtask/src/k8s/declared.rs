//! Declared: the settings that a service's program has, by its own word (`--sample-config`).
//!
//! Invariant: a setting without a default, which stands there behind `#`, counts as well.

use std::collections::BTreeMap;

/// Names, with sections and dots, and defaults as TOML; none where there is none.
pub struct Declared(BTreeMap<String, Option<String>>);

impl Declared {
    /// Reads a sample file.
    pub fn parse(sample: &str) -> Self {
        let mut found = BTreeMap::new();
        let mut section = String::new();
        for line in sample.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                section = format!("{name}.");
            } else if let Some((name, value)) = line.split_once('=') {
                let name = name.trim();
                let (name, is_set) = match name.strip_prefix("# ") {
                    Some(name) => (name, false),
                    None => (name, true),
                };
                if name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                {
                    let value = is_set.then(|| value.trim().to_owned());
                    found.insert(format!("{section}{name}"), value);
                }
            }
        }
        Self(found)
    }

    /// Whether a variable, `HEDDLE_SECTION__FIELD`, sets something.
    pub fn has_variable(&self, variable: &str) -> bool {
        self.0.contains_key(&field(variable))
    }

    /// The default of what a variable sets, as TOML.
    pub fn default_of(&self, variable: &str) -> Option<&str> {
        self.0.get(&field(variable))?.as_deref()
    }
}

fn field(variable: &str) -> String {
    let name = variable.strip_prefix("HEDDLE_").unwrap_or(variable);
    name.to_ascii_lowercase().replace("__", ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_with_and_without_defaults_are_known_and_prose_is_not() {
        let declared = Declared::parse(
            "# Where = when.\nlisten = \"127.0.0.1:7448\"\n\n# A section.\n[chat]\n\n# node =\n",
        );
        assert_eq!(
            declared.default_of("HEDDLE_LISTEN"),
            Some("\"127.0.0.1:7448\"")
        );
        assert!(declared.has_variable("HEDDLE_CHAT__NODE"));
        assert_eq!(declared.default_of("HEDDLE_CHAT__NODE"), None);
        assert_eq!(declared.0.len(), 2);
    }
}
