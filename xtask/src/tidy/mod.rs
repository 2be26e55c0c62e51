//! The house style as an executed check: `cargo xtask tidy`, and a test of this crate.
//!
//! `lines`, `shape` and `ladder` hold the rules, each a pure function of one file; here they are
//! run over the checkout and reported. Invariant: what rustfmt and clippy check is not repeated.

mod ladder;
mod lines;
mod shape;
mod source;

use crate::check::{Failure, Outcome};
use crate::command;
use crate::repo::{Repo, SourceFile};
use crate::tools;
use source::Finding;

/// What is wrong, and what is merely unusual.
#[derive(Debug, Default)]
pub struct Survey {
    files: usize,
    findings: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// Looks at the whole checkout and prints what there is to mend.
pub fn run(repo: &Repo) -> Outcome {
    let survey = survey(&repo.files()?);
    for warning in &survey.warnings {
        println!("unusual: {warning}");
    }
    for finding in &survey.findings {
        println!("{finding}");
    }
    let note = format!("{} files, {} unusual", survey.files, survey.warnings.len());
    match survey.findings.len() {
        0 => Ok(note),
        wrong => Err(Failure::wrong(format!("{wrong} to mend, {note}"))),
    }
}

/// Formats, and has rustfmt wrap comments, for which its option is not stable yet.
pub fn fix() -> Result<(), Failure> {
    let mut cargo = tools::cargo();
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.args(["fmt", "--all", "--", "--config"]);
    command::run(cargo.arg("wrap_comments=true,comment_width=100"))
}

fn survey(files: &[SourceFile]) -> Survey {
    let mut survey = Survey {
        files: files.len(),
        ..Survey::default()
    };
    for file in files {
        lines::check(file, &mut survey.findings);
        shape::check(file, &mut survey.findings);
        ladder::check(file, &mut survey.findings);
        shape::warn(file, &mut survey.warnings);
    }
    survey
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that `cargo test` alone holds the style.
    #[test]
    fn this_checkout_is_tidy() {
        let repo = Repo::find().unwrap();
        let findings = survey(&repo.files().unwrap()).findings;
        let list: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(list.is_empty(), "\n{}", list.join("\n"));
    }
}
