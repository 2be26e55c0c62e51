//! docs/heddle.sample.toml, made from the settings' own declarations.
//!
//! `heddle serve --sample-config` prints it; here it is written to the page and compared with it,
//! by `cargo xtask settings` and by the docs step. Invariant: the page is what the program says.

use std::fs;
use std::process::Command;

use crate::build;
use crate::check::{Failure, Outcome};
use crate::repo::Repo;

const PAGE: &str = "docs/heddle.sample.toml";

const HEAD: &str = "\
# Every setting of `heddle serve` with its default. Made by `cargo xtask settings`; change it where
# the settings are declared. Settings come from here (--config FILE), then from the environment
# (HEDDLE_GATEWAY__LIMITS__GROUP_MEMBERS_MAX), then from flags (--set FIELD=VALUE): the last counts.

";

/// Writes the page.
pub fn write(repo: &Repo) -> Outcome {
    let page = page(repo)?;
    fs::create_dir_all(repo.path("docs"))?;
    fs::write(repo.path(PAGE), &page)?;
    Ok(format!("{PAGE}: {} settings", count(&page)))
}

/// Says whether the page is what would be written.
pub fn check(repo: &Repo) -> Outcome {
    let page = page(repo)?;
    if repo.read(PAGE).ok().as_ref() != Some(&page) {
        return Err(Failure::wrong(format!(
            "{PAGE} is stale; run `cargo xtask settings`"
        )));
    }
    Ok(format!("{} settings", count(&page)))
}

fn page(repo: &Repo) -> Result<String, Failure> {
    build::all(repo)?;
    let mut heddle = Command::new(build::program(repo, false, "heddle"));
    let printed = heddle.args(["serve", "--sample-config"]).output()?;
    let sample = String::from_utf8_lossy(&printed.stdout);
    if !printed.status.success() || sample.is_empty() {
        let error = String::from_utf8_lossy(&printed.stderr);
        return Err(Failure::wrong(format!(
            "`heddle serve --sample-config` failed: {error}"
        )));
    }
    Ok(format!("{HEAD}{}\n", sample.trim_end()))
}

/// Lines that set something, the commented-out ones among them.
fn count(page: &str) -> usize {
    let is_setting = |line: &&str| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        let name = line.split(" =").next().unwrap_or_default();
        line.contains(" =") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    page.lines().filter(is_setting).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_with_and_without_a_default_count_and_prose_does_not() {
        let page = format!("{HEAD}# Whom = what.\nlisten = \"a\"\n# key_file =\n\n[gateway]\n");
        assert_eq!(count(&page), 2);
    }
}
