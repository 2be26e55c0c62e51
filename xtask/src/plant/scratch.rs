//! The copy of the checkout in which bugs are planted, and how a test is run in it.
//!
//! A git worktree below `target/plants` with a target directory of its own, so that what was built
//! for one plant serves the next. It has what the checkout has, committed or not, as far as git
//! knows the file.
//!
//! Invariant: the checkout itself is never touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::cassandra;
use crate::check::Failure;
use crate::command;
use crate::repo::Repo;
use crate::suite::tally::Tally;
use crate::tools;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// This machine does not allow it.
    Impossible,
}

/// The copy.
#[derive(Debug)]
pub struct Scratch {
    directory: PathBuf,
    search_path: std::ffi::OsString,
}

impl Scratch {
    /// Makes the copy, or brings an older one up to date.
    pub fn prepare(repo: &Repo) -> Result<Self, Failure> {
        let scratch = Self {
            directory: repo.path("target/plants"),
            search_path: tools::search_path(repo),
        };
        fs::create_dir_all(&scratch.directory)?;
        let commit = state_of(repo.root())?;
        let tree = scratch.tree();
        if tree.join(".git").exists() {
            let mut checkout = git(&tree);
            checkout.args(["checkout", "--quiet", "--force", "--detach", &commit]);
            command::run(&mut checkout)?;
            command::run(git(&tree).args(["clean", "-fdq"]))?;
        } else {
            let mut add = git(repo.root());
            // Forced, since git may still know one that was deleted with `target`.
            add.args(["worktree", "add", "--quiet", "--force", "--detach"]);
            command::run(add.arg(&tree).arg(&commit))?;
        }
        Ok(scratch)
    }

    /// Plants a bug.
    pub fn apply(&self, patch: &Path) -> Result<(), Failure> {
        command::run(git(&self.tree()).arg("apply").arg(patch))
    }

    /// Takes it out again.
    pub fn take_back(&self, patch: &Path) -> Result<(), Failure> {
        command::run(git(&self.tree()).args(["apply", "--reverse"]).arg(patch))
    }

    /// What the last run of this name printed.
    pub fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    /// Runs a command as a plant names it. What does not compile is an error, not a failed test.
    pub fn run(&self, test: &str, name: &str) -> Result<Ran, Failure> {
        let words: Vec<&str> = test.split_whitespace().collect();
        match words.as_slice() {
            ["cargo", "test", which @ .., test] => self.test(which, test, name),
            ["cargo", "xtask", "faults", arguments @ ..] => self.faults(arguments, name),
            _ => Err(Failure::wrong(format!("`{test}` is no test"))),
        }
    }

    /// The one test of this name; that none or another one ran is an error.
    fn test(&self, which: &[&str], test: &str, name: &str) -> Result<Ran, Failure> {
        let mut build = self.cargo();
        command::run(build.args(["test", "--quiet", "--no-run"]).args(which))?;
        let mut run = self.cargo();
        run.arg("test").args(which).args([test, "--", "--exact"]);
        let (status, output) = self.logged(&mut run, name)?;
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.take(line));
        match (status.success(), tally.passed, tally.failed) {
            (true, 1, 0) => Ok(Ran::Passed),
            (false, 0, 1) => Ok(Ran::Failed),
            _ => Err(self.unclear(test, name)),
        }
    }

    /// A fault suite, with the binaries of the copy. One in a cluster means the commit protocol on
    /// Cassandra, which the embedded store does not have.
    fn faults(&self, arguments: &[&str], name: &str) -> Result<Ran, Failure> {
        let is_cluster = arguments.contains(&"cluster");
        if is_cluster && std::env::var_os(cassandra::ADDRESS).is_none() {
            return Ok(Ran::Impossible);
        }
        let mut build = self.cargo();
        build.args(["build", "--quiet", "--bins"]);
        let programs: &[&str] = match is_cluster {
            true => &["--workspace"],
            false => &["-p", "heddle", "-p", "heddle-lab"],
        };
        command::run(build.args(programs))?;
        let mut run = Command::new(self.target().join("debug/heddle-lab"));
        run.current_dir(self.tree())
            .env("PATH", &self.search_path)
            .args(arguments);
        let (status, _) = self.logged(&mut run, name)?;
        match status.code() {
            Some(0) => Ok(Ran::Passed),
            Some(1) => Ok(Ran::Failed),
            Some(command::IMPOSSIBLE) => Ok(Ran::Impossible),
            _ => Err(self.unclear("the fault suite", name)),
        }
    }

    fn logged(&self, run: &mut Command, name: &str) -> Result<(ExitStatus, String), Failure> {
        let output = run.output()?;
        let text = [output.stdout, output.stderr].concat();
        fs::write(self.log(name), &text)?;
        Ok((output.status, String::from_utf8_lossy(&text).into_owned()))
    }

    fn unclear(&self, test: &str, name: &str) -> Failure {
        let log = self.log(name);
        Failure::wrong(format!(
            "{test} neither passed nor failed by itself; see {}",
            log.display()
        ))
    }

    fn cargo(&self) -> Command {
        let mut cargo = tools::cargo();
        cargo.current_dir(self.tree());
        cargo.env("CARGO_TARGET_DIR", self.target());
        cargo.env("PATH", &self.search_path);
        cargo
    }

    fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    fn target(&self) -> PathBuf {
        self.directory.join("target")
    }
}

/// git in a directory.
pub fn git(directory: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(directory);
    git
}

/// A commit with what the checkout holds now; what git does not know yet is not in it.
fn state_of(root: &Path) -> Result<String, Failure> {
    let asked = |arguments: &[&str]| -> Result<String, Failure> {
        let output = git(root).args(arguments).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::wrong(format!("git: {}", said.trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let with_changes = asked(&["stash", "create"])?;
    if with_changes.is_empty() {
        return asked(&["rev-parse", "HEAD"]);
    }
    Ok(with_changes)
}
