//! Flags: what every service's binary understands on its command line.
//!
//! Invariant: a flag can set whatever the settings file can.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory, FromArgMatches, Parser};

use super::Verb;

/// The flags that every service's binary has.
#[derive(Debug, Parser)]
pub(super) struct Flags {
    /// Settings to start from, a TOML file.
    #[arg(long, global = true, value_name = "FILE", env = "HEDDLE_CONFIG")]
    config: Option<PathBuf>,
    /// One setting, like serve.streams_max=100; may be given many times.
    #[arg(long, global = true, value_name = "FIELD=VALUE", value_parser = parse_set)]
    set: Vec<(String, toml::Value)>,
    /// Prints a settings file with all defaults, and ends.
    #[arg(long)]
    pub(super) sample_config: bool,
    /// Checks the settings, and ends.
    #[arg(long)]
    pub(super) check_config: bool,
}

impl Flags {
    /// Reads the command line, and which of the verbs is asked for; a wrong one, or `--help`, ends
    /// the process here.
    pub(super) fn of_command_line(
        name: &'static str,
        verbs: &'static [Verb],
    ) -> (Self, Option<&'static str>) {
        let subcommands = verbs.iter();
        let subcommands = subcommands.map(|verb| Command::new(verb.name).about(verb.about));
        let command = Self::command()
            .name(name)
            .version(env!("CARGO_PKG_VERSION"))
            .subcommands(subcommands);
        let matches = command.get_matches();
        let flags = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let asked = |verb: &&Verb| matches.subcommand_name() == Some(verb.name);
        let verb = verbs.iter().find(asked).map(|verb| verb.name);
        (flags, verb)
    }

    pub(super) fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    pub(super) fn settings(&self) -> toml::Table {
        overlay(&self.set)
    }
}

/// Reads `field=value`; a value that is not TOML is text.
fn parse_set(text: &str) -> Result<(String, toml::Value), String> {
    let (field, value) = text
        .split_once('=')
        .ok_or("write it as section.field=value")?;
    let parsed = format!("value = {value}").parse::<toml::Table>().ok();
    let parsed = parsed.and_then(|mut table| table.remove("value"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    Ok((field.trim().to_owned(), value))
}

/// The `--set` flags as one table in the shape of the settings.
fn overlay(set: &[(String, toml::Value)]) -> toml::Table {
    let mut root = toml::Table::new();
    for (field, value) in set {
        let mut sections = field.split('.').collect::<Vec<_>>();
        let Some(last) = sections.pop() else { continue };
        let mut table = &mut root;
        for section in sections {
            let place = table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into());
            if !place.is_table() {
                *place = toml::Table::new().into();
            }
            let toml::Value::Table(within) = place else {
                unreachable!("made a table above")
            };
            table = within;
        }
        table.insert(last.to_owned(), value.clone());
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_flags_become_settings() {
        let set = ["a.b=1", "a.c=text", "d=[1, 2]", "e=\"1\"", "a.b=2"];
        let set: Vec<_> = set.iter().map(|text| parse_set(text).unwrap()).collect();
        let expected = "d = [1, 2]\ne = '1'\n[a]\nb = 2\nc = 'text'";
        assert_eq!(overlay(&set), expected.parse::<toml::Table>().unwrap());
        assert!(parse_set("no value").is_err());
    }
}
