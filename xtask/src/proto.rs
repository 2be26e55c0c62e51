//! The protocol's own checks: buf's lint, and nothing that breaks a client of the last release.
//!
//! `buf.yaml` holds the rules, `proto/release/` the image of the last release. Invariant: only
//! [`release`] changes that image.

use std::fs;
use std::process::Command;

use crate::check::Outcome;
use crate::command;
use crate::repo::Repo;
use crate::tools;

const RELEASE_DIR: &str = "proto/release";
const RELEASE_IMAGE: &str = "proto/release/heddle.binpb";

/// Lints, and compares with the last release if there is one.
pub fn check(repo: &Repo) -> Outcome {
    command::run(buf(repo)?.arg("lint"))?;
    if !repo.path(RELEASE_IMAGE).is_file() {
        let note = "lint; no release yet to compare with";
        println!("{note} (`cargo xtask proto --release` makes {RELEASE_IMAGE})");
        return Ok(note.to_owned());
    }
    command::run(buf(repo)?.args(["breaking", "--against", RELEASE_IMAGE]))?;
    Ok("lint, breaking".to_owned())
}

/// Takes today's protocol as the release that later ones are compared with.
pub fn release(repo: &Repo) -> Outcome {
    check(repo)?;
    fs::create_dir_all(repo.path(RELEASE_DIR))?;
    command::run(buf(repo)?.args(["build", "--exclude-source-info", "-o", RELEASE_IMAGE]))?;
    Ok(format!(
        "{RELEASE_IMAGE} written; commit it with the release"
    ))
}

fn buf(repo: &Repo) -> Result<Command, crate::check::Failure> {
    let mut buf = Command::new(tools::buf(repo)?);
    buf.current_dir(repo.root());
    Ok(buf)
}
