//! The one way in which the suite selects what cargo builds.
//!
//! Every step names the whole workspace with its tests, so that all resolve the same features and
//! no dependency is built twice; what a step runs it picks by target. Used by `suite`, `settings`
//! and `lab`. Invariant: after [`all`] no step of the suite compiles anything but documentation.

use std::path::PathBuf;

use crate::check::{Failure, Outcome};
use crate::command;
use crate::repo::{Repo, SourceFile};
use crate::tools;

/// Whose tests are scenarios over TCP.
const E2E: &str = "e2e/";

/// Builds every program and every test.
pub fn all(_: &Repo) -> Outcome {
    let mut cargo = tools::cargo();
    cargo.args(["build", "--workspace", "--bins", "--tests"]);
    command::run(cargo.args(locked()))?;
    Ok(String::new())
}

/// Where a program lies once it is built.
pub fn program(repo: &Repo, release: bool, name: &str) -> PathBuf {
    let profile = if release { "release" } else { "debug" };
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| repo.root().join("target"));
    target.join(profile).join(name)
}

/// In CI the lock file is the truth; at home cargo may complete it after a change.
pub fn locked() -> Option<&'static str> {
    tools::in_ci().then_some("--locked")
}

/// What `cargo test` is told to run: everything but the scenarios.
pub fn unit_targets(repo: &Repo) -> Result<Vec<String>, Failure> {
    let mut targets = vec!["--lib".to_owned(), "--bins".to_owned()];
    targets.extend(named(&repo.files()?, |path| !path.starts_with(E2E))?);
    Ok(targets)
}

/// What `cargo test` is told to run: the scenarios.
pub fn e2e_targets(repo: &Repo) -> Result<Vec<String>, Failure> {
    named(&repo.files()?, |path| path.starts_with(E2E))
}

/// `--test NAME` for each test target below a path that `is_chosen`. A name counts in the whole
/// workspace, so one that is used on both sides is refused.
fn named(files: &[SourceFile], is_chosen: impl Fn(&str) -> bool) -> Result<Vec<String>, Failure> {
    let targets = files
        .iter()
        .filter_map(|file| Some((&*file.path, test_name(&file.path)?)));
    let (ours, theirs): (Vec<_>, Vec<_>) = targets.partition(|(path, _)| is_chosen(path));
    for (path, name) in &ours {
        if let Some((other, _)) = theirs.iter().find(|(_, other)| other == name) {
            let text = format!("{path} and {other} are both called {name}; rename one of them");
            return Err(Failure::wrong(text));
        }
    }
    let flags = ours.into_iter().flat_map(|(_, name)| ["--test", name]);
    Ok(flags.map(str::to_owned).collect())
}

/// The name of the test target whose root this file is: `x/tests/NAME.rs` or
/// `x/tests/NAME/main.rs`. Members of the workspace lie at its top; what lies deeper, such as
/// `history-svc/cassandra-cpp`, is a workspace of its own.
fn test_name(path: &str) -> Option<&str> {
    let (member, file) = path.split_once("/tests/")?;
    if member.contains('/') {
        return None;
    }
    match file.split_once('/') {
        None => file.strip_suffix(".rs"),
        Some((name, "main.rs")) => Some(name),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Vec<SourceFile> {
        let file = |path: &&str| SourceFile {
            path: (*path).to_owned(),
            text: String::new(),
        };
        paths.iter().map(file).collect()
    }

    #[test]
    fn roots_of_test_targets_are_found_by_their_place() {
        let files = files(&[
            "e2e/tests/errors/main.rs",
            "e2e/tests/errors/provoke.rs",
            "e2e/tests/door.rs",
            "kit/tests/collector.rs",
            "history-svc/src/embedded/tests/mod.rs",
            "history-svc/cassandra-cpp/tests/contract.rs",
            "lab/src/tests.rs",
        ]);
        let e2e = named(&files, |path| path.starts_with(E2E)).unwrap();
        assert_eq!(e2e, ["--test", "errors", "--test", "door"]);
        let others = named(&files, |path| !path.starts_with(E2E)).unwrap();
        assert_eq!(others, ["--test", "collector"]);
    }

    #[test]
    fn a_name_on_both_sides_is_refused() {
        let files = files(&["e2e/tests/check.rs", "history-svc/tests/check.rs"]);
        let error = named(&files, |path| path.starts_with(E2E)).unwrap_err();
        assert!(
            error.to_string().contains("history-svc/tests/check.rs"),
            "{error}"
        );
    }
}
