//! Sample: a settings struct as a TOML file that explains itself.
//!
//! Fed by [`super::Field`]s, which `config!` makes of the doc comments.
//!
//! Invariant: the sample loads, and loading it gives the defaults.

use std::fmt::Write;

use super::{Config, Field};

/// The defaults of `C` as TOML, each under its doc comment. A field without a default is shown
/// commented out.
pub fn sample<C: Config>() -> String {
    let defaults = toml::Value::try_from(C::default()).ok();
    let mut text = String::new();
    table(&mut text, "", C::FIELDS, defaults.as_ref());
    text
}

fn table(text: &mut String, path: &str, fields: &[Field], defaults: Option<&toml::Value>) {
    let value_of = |name: &str| defaults.and_then(|table| table.get(name));
    for field in fields.iter().filter(|field| field.section.is_none()) {
        comment(text, field.docs);
        let _infallible = match value_of(field.name) {
            Some(value) => writeln!(text, "{} = {value}\n", field.name),
            None => writeln!(text, "# {} =\n", field.name),
        };
    }
    for field in fields {
        let Some(within) = field.section else {
            continue;
        };
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{}", field.name);
        comment(text, field.docs);
        let _infallible = writeln!(text, "[{path}]\n");
        table(text, &path, within, value_of(field.name));
    }
}

fn comment(text: &mut String, docs: &[&str]) {
    for line in docs {
        let _infallible = writeln!(text, "#{}", line.trim_end());
    }
}
