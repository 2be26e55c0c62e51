//! The protocol's own checks: buf's lint, and nothing that breaks a client of the last release.
//!
//! `buf.yaml` holds the rules, `proto/release/` the image of the last release: of the public
//! protocol only, since services of one deployment are released together. Invariant: only
//! [`release`] changes that image.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::check::{Failure, Outcome};
use crate::command;
use crate::repo::Repo;
use crate::tools;

const PUBLIC_DIR: &str = "proto/proto/heddle/v1";
const RELEASE_DIR: &str = "proto/release";
const RELEASE_IMAGE: &str = "proto/release/heddle.binpb";

/// Lints, and compares with the last release.
pub fn check(repo: &Repo) -> Outcome {
    check_with(&tools::buf(repo)?, repo)
}

/// Takes today's protocol as the release that later ones are compared with.
pub fn release(repo: &Repo) -> Outcome {
    let buf = tools::buf(repo)?;
    if repo.path(RELEASE_IMAGE).is_file() {
        check_with(&buf, repo)?;
    }
    fs::create_dir_all(repo.path(RELEASE_DIR))?;
    let image = ["build", "--exclude-source-info", "--path", PUBLIC_DIR, "-o"];
    command::run(in_repo(&buf, repo).args(image).arg(RELEASE_IMAGE))?;
    Ok(format!(
        "{RELEASE_IMAGE} written; commit it with the release"
    ))
}

fn check_with(buf: &Path, repo: &Repo) -> Outcome {
    command::run(in_repo(buf, repo).arg("lint"))?;
    compare(buf, repo)?;
    Ok("lint, breaking".to_owned())
}

fn compare(buf: &Path, repo: &Repo) -> Result<(), Failure> {
    if !repo.path(RELEASE_IMAGE).is_file() {
        return Err(Failure::wrong(format!(
            "{RELEASE_IMAGE} is gone, so nothing shows that old clients go on working; restore it \
             (`cargo xtask proto --release` makes one of today's protocol)"
        )));
    }
    let against = ["breaking", "--against", RELEASE_IMAGE];
    command::run(in_repo(buf, repo).args(against))
}

fn in_repo(buf: &Path, repo: &Repo) -> Command {
    let mut command = Command::new(buf);
    command.current_dir(repo.root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The protocol and its last release, in a place where they may be spoilt.
    fn copied(repo: &Repo, to: &Path) -> Repo {
        let of_protocol = |path: &str| path.starts_with("proto/proto/") || path == "buf.yaml";
        for file in repo.files().unwrap() {
            if of_protocol(&file.path) {
                let path = to.join(&file.path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, file.text).unwrap();
            }
        }
        fs::create_dir_all(to.join(RELEASE_DIR)).unwrap();
        fs::copy(repo.path(RELEASE_IMAGE), to.join(RELEASE_IMAGE)).unwrap();
        Repo::at(to)
    }

    #[test]
    fn a_renumbered_field_and_a_missing_release_are_refused() {
        let repo = Repo::find().unwrap();
        let Some(buf) = tools::buf_if_installed(&repo) else {
            assert!(!tools::in_ci(), "the proto step installs buf first");
            eprintln!("NOT PROVEN: buf is not installed; `cargo xtask proto` installs it");
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let copy = copied(&repo, dir.path());
        compare(&buf, &copy).unwrap();

        let file = copy.path("proto/proto/heddle/v1/messaging.proto");
        let text = fs::read_to_string(&file).unwrap();
        let field = "bytes conversation_id = 1;";
        let renumbered = text.replacen(field, "bytes conversation_id = 15;", 1);
        assert_ne!(text, renumbered);
        fs::write(&file, renumbered).unwrap();
        assert!(compare(&buf, &copy).is_err(), "a renumbered field passed");

        fs::remove_file(copy.path(RELEASE_IMAGE)).unwrap();
        let alone = compare(&buf, &copy);
        assert!(alone.is_err(), "there is no release to compare with");
    }
}
