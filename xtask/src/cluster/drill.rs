//! The drill: what the README says of `cargo xtask cluster`, done as a newcomer would.
//!
//! A step of the suite. Invariant: when it ends, nothing that it started runs.

use std::path::Path;
use std::process::Command;

use super::process::Process;
use super::up::Up;
use super::{Task, perform};
use crate::build::program;
use crate::check::{Failure, Outcome};
use crate::repo::Repo;

/// Not where a developer's own cluster may run.
const DIRECTORY: &str = "target/cluster-drill";
/// Which process is killed and started again.
const STRUCK: &str = "chat-svc/2";

/// Starts a cluster, strikes it, stops it, starts it again with one chat node less, and stops it.
pub fn run(repo: &Repo) -> Outcome {
    let dir = repo.path(DIRECTORY);
    let done = Stopped(repo, &dir).perform();
    let told = perform(repo, Some(dir.clone()), Task::Down { purge: false })?;
    let count = done?;
    if told != format!("{count} processes stopped") || running(&dir)? > 0 {
        return Err(Failure::wrong(format!("{count} ran, and then {told}")));
    }
    Ok(format!("{} processes, then {count}", count + 1))
}

/// A cluster that is to be stopped, whatever comes of it.
struct Stopped<'a>(&'a Repo, &'a Path);

impl Stopped<'_> {
    fn task(&self, task: Task) -> Outcome {
        let told = perform(self.0, Some(self.1.to_owned()), task)?;
        println!("{told}");
        Ok(told)
    }

    /// How many processes ran in the end.
    fn perform(&self) -> Result<usize, Failure> {
        self.task(Task::Down { purge: true })?;
        let told = self.task(Task::Up(Up::usual()))?;
        let before = self.history(&told)?;
        let all = self.strike()?;
        // What is stored stays, and the processes that stored it are in nobody's way.
        self.task(Task::Down { purge: false })?;
        let mut fewer = Up::usual();
        fewer.chat -= 1;
        let told = self.task(Task::Up(fewer))?;
        let after = self.history(&told)?;
        if before.is_empty() || before == after || !after.starts_with(&before) {
            return Err(Failure::wrong(format!(
                "before the cluster was stopped:\n{before}and afterwards:\n{after}"
            )));
        }
        match running(self.1)? {
            count if count + 1 == all => Ok(count),
            count => Err(Failure::wrong(format!(
                "{count} run with one chat node less, {all} before"
            ))),
        }
    }

    /// Kills a process and starts it again; how many run.
    fn strike(&self) -> Result<usize, Failure> {
        let count = running(self.1)?;
        let process = || STRUCK.to_owned();
        self.task(Task::Kill { process: process() })?;
        Process::at(self.1.join(STRUCK.replace('/', "-"))).ended()?;
        let struck = running(self.1)?;
        self.task(Task::Start { process: process() })?;
        let status = self.task(Task::Status)?;
        let all = status.lines().count();
        if (count, struck, running(self.1)?) != (all, all - 1, all) {
            return Err(Failure::wrong(format!(
                "{count} ran, then {struck}, then:\n{status}"
            )));
        }
        Ok(all)
    }

    /// What alice has said to the canary, from the gateway that `up` has named: each time that a
    /// cluster is up, it is more.
    fn history(&self, told: &str) -> Result<String, Failure> {
        let after = told.split_once("--target ").map(|(_, after)| after);
        let url = after.and_then(|after| after.split_whitespace().next());
        let url = url.ok_or_else(|| Failure::wrong("`up` names no gateway"))?;
        let output = Command::new(program(self.0, false, "heddle"))
            .args(["history", "--as", "alice", "--with", "canary"])
            .args(["--after", "0", "--count", "500", "--target", url, "--data"])
            .arg(self.1.join("data"))
            // Somebody else's, maybe.
            .env_remove("HEDDLE_TOKEN")
            .output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(Failure::wrong(format!("no history from {url}: {said}")))
            }
        }
    }
}

fn running(dir: &Path) -> Result<usize, Failure> {
    let mut count = 0;
    for process in Process::all(dir)? {
        count += usize::from(process.pid()?.is_some());
    }
    Ok(count)
}
