//! Error: what is wrong with the settings, said so that it can be put right.
//!
//! Made from figment's errors by [`super::load`], shown by [`mod@crate::run`] before it gives up.
//!
//! Invariant: no value is shown, as any of them might be a secret.

use std::fmt;
use std::path::Path;

use figment::error::{Actual, Kind};
use figment::{Metadata, Source};

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One wrong setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, with its sections: `serve.accept.connections_max`. Empty for a whole file.
    pub field: String,
    /// Where it was set: a file's name, a variable, the flags.
    pub origin: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl ConfigError {
    pub(super) fn no_file(path: &Path) -> Self {
        let problem = Problem {
            field: String::new(),
            origin: path.display().to_string(),
            reason: "there is no such file; --sample-config prints one to start from".into(),
        };
        Self {
            problems: vec![problem],
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (
            index,
            Problem {
                field,
                origin,
                reason,
            },
        ) in self.problems.iter().enumerate()
        {
            let line_break = if index > 0 { "\n" } else { "" };
            match field.as_str() {
                "" => write!(formatter, "{line_break}{origin}: {reason}")?,
                field => write!(formatter, "{line_break}{field} (set by {origin}): {reason}")?,
            }
        }
        Ok(())
    }
}

impl From<figment::Error> for ConfigError {
    fn from(errors: figment::Error) -> Self {
        Self {
            problems: errors.into_iter().map(Problem::from).collect(),
        }
    }
}

impl From<figment::Error> for Problem {
    fn from(error: figment::Error) -> Self {
        let mut path = error.path.clone();
        if let Kind::UnknownField(name, _) = &error.kind
            && path.last() != Some(name)
        {
            path.push(name.clone());
        }
        let origin = origin(error.metadata.as_ref());
        Self {
            field: path.join("."),
            origin,
            reason: reason(&error.kind),
        }
    }
}

fn origin(source: Option<&Metadata>) -> String {
    match source {
        Some(Metadata {
            source: Some(Source::File(path)),
            ..
        }) => path.display().to_string(),
        Some(source) => source.name.to_string(),
        None => "the defaults".into(),
    }
}

fn reason(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(actual, expected) => {
            let text_wanted = expected.contains("string");
            let hint = if text_wanted {
                "; put it in double quotes to make it text"
            } else {
                ""
            };
            format!("expected {expected}, found {}{hint}", kind_of(actual))
        }
        Kind::InvalidValue(_, expected) => format!("expected {expected}"),
        Kind::InvalidLength(length, expected) => format!("expected {expected}, found {length}"),
        Kind::UnknownVariant(_, known) => format!("expected one of {}", known.join(", ")),
        Kind::UnknownField(_, known) => format!("no such field; there are {}", known.join(", ")),
        Kind::MissingField(name) => format!("{name} is missing; set it"),
        // serde's own messages may quote a value, and TOML's quote the line; both end there.
        Kind::Message(text) => text.lines().next().unwrap_or_default().to_owned(),
        other => other.to_string(),
    }
}

fn kind_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) => "an integer",
        Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}
