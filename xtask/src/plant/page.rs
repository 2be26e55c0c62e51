//! docs/planted-bugs.md, made from the heads of the patches.
//!
//! Written by `cargo xtask plant --page`, checked by the docs step. Invariant: the page says what
//! the patches say.

use std::fmt::Write;
use std::fs;

use crate::check::{Failure, Outcome};
use crate::repo::Repo;

use super::patch::Plant;

const PAGE: &str = "docs/planted-bugs.md";

const HEAD: &str = "\
# Planted bugs

Made from the patches in `xtask/plants` by `cargo xtask plant --page`; change them there.

Would the suite notice? Each patch breaks one promise. `cargo xtask plant NAME` applies it to a copy
of the checkout, builds, runs the command named with it, and demands that it fails, and that it
passes with nothing planted. Where a fault run is named beside a test, both must fail.
`cargo xtask plant --all` does so for all of them; the docs step of the test command checks that
each patch still applies.

| bug | what is planted | caught by | what it sees |
|---|---|---|---|
";

/// Writes the page.
pub fn write(repo: &Repo, plants: &[Plant]) -> Outcome {
    fs::write(repo.path(PAGE), render(plants))?;
    Ok(format!("{PAGE}: {} bugs", plants.len()))
}

/// Whether the page is what would be written.
pub fn check(repo: &Repo, plants: &[Plant]) -> Result<(), Failure> {
    if repo.read(PAGE).ok() != Some(render(plants)) {
        return Err(Failure::wrong(format!(
            "{PAGE} is stale; run `cargo xtask plant --page`"
        )));
    }
    Ok(())
}

fn render(plants: &[Plant]) -> String {
    let mut page = HEAD.to_owned();
    for Plant {
        name,
        bug,
        caught_by,
        under_load,
        sees,
        ..
    } in plants
    {
        let load = under_load.iter().map(|load| format!("; `{load}`"));
        let load: String = load.collect();
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{name}` | {bug} | `{caught_by}`{load} | {sees} |");
    }
    page
}
