//! The drill: what the README says of `cargo xtask cluster`, done as a newcomer would.
//!
//! A step of the suite. Invariant: when it ends, nothing that it started runs.

use std::path::Path;

use super::process::Process;
use super::{Task, Up, perform};
use crate::check::{Failure, Outcome};
use crate::repo::Repo;

/// Not where a developer's own cluster may run.
const DIRECTORY: &str = "target/cluster-drill";
/// Which process is killed and started again.
const STRUCK: &str = "chat-svc/2";

/// Starts a cluster, strikes it, and stops it.
pub fn run(repo: &Repo) -> Outcome {
    let dir = repo.path(DIRECTORY);
    let done = Stopped(repo, &dir).perform();
    let told = perform(repo, Some(dir.clone()), Task::Down { purge: false })?;
    let count = done?;
    if told != format!("{count} processes stopped") || running(&dir)? > 0 {
        return Err(Failure::wrong(format!("{count} ran, and then {told}")));
    }
    Ok(format!("{count} processes"))
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
        self.task(Task::Up(Up::usual()))?;
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
}

fn running(dir: &Path) -> Result<usize, Failure> {
    let mut count = 0;
    for process in Process::all(dir)? {
        count += usize::from(process.pid()?.is_some());
    }
    Ok(count)
}
