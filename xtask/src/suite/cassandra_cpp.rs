//! The step `cassandra-cpp`: the crate outside the workspace that needs a libcassandra.
//!
//! Called by `steps`. Runs where `CASSANDRA_SYS_LIB_PATH` names one, and is loudly not run where
//! not: no package of a distribution has it (docs/adr/0014-cassandra-cpp.md). Invariant: what is
//! checked here is what the workspace is checked for: format, lints, the suite of its backend, and
//! one scenario with its program as history-svc.

use std::path::PathBuf;
use std::process::Command;

use crate::build;
use crate::cassandra;
use crate::check::{Failure, Outcome};
use crate::command;
use crate::repo::Repo;
use crate::suite::tally::Tally;
use crate::tools;

const CRATE: &str = "history-svc/cassandra-cpp/Cargo.toml";
const PROGRAM: &str = "history-svc-cassandra-cpp";
/// Directories with a libcassandra, apart by `;`; read by the build of the crate's driver.
const LIBRARY: &str = "CASSANDRA_SYS_LIB_PATH";
/// Names the program to the scenario.
const HISTORY_PROGRAM: &str = "HISTORY_PROGRAM";
const SCENARIO: &str = "as_five_processes_on_cassandra";

/// Does all of it.
pub fn check(repo: &Repo, tally: &mut Tally) -> Outcome {
    // Its lock file follows the workspace's manifests, which is seen without a library too.
    let mut locked = tools::cargo();
    locked.args(["fetch", "--locked", "--manifest-path"]);
    command::run(locked.arg(repo.path(CRATE)))?;
    let library = std::env::var(LIBRARY).unwrap_or_default();
    if library.is_empty() {
        return Err(Failure::Impossible(format!(
            "{LIBRARY} names no libcassandra, so NOTHING of {PROGRAM} is proved; \
             docs/adr/0014-cassandra-cpp.md tells how to name one"
        )));
    }
    let here = Crate {
        repo,
        search: search(&library),
    };
    command::run(here.cargo("fmt").args(["--check"]))?;
    let mut clippy = here.cargo("clippy");
    clippy.arg("--all-targets").args(build::locked());
    command::run(clippy.args(["--", "-D", "warnings"]))?;
    command::run(here.cargo("build").args(build::locked()))?;
    let node = cassandra::suite_node(repo)?;
    let mut suite = here.cargo("test");
    suite.arg("--no-fail-fast").args(build::locked());
    let ran = command::stream(suite.env(cassandra::ADDRESS, &node), |line| {
        tally.take(line)
    });
    let scenario = here.scenario(&node, tally);
    if tally.failed > 0 {
        let (passed, failed) = (tally.passed, tally.failed);
        return Err(Failure::wrong(format!("{passed} passed, {failed} failed")));
    }
    ran.and(scenario)?;
    Ok(format!("{} passed", tally.passed))
}

struct Crate<'a> {
    repo: &'a Repo,
    search: String,
}

impl Crate<'_> {
    /// Its products lie beside the workspace's, where they are found by name.
    fn cargo(&self, what: &str) -> Command {
        let mut cargo = tools::cargo();
        cargo
            .args([what, "--manifest-path"])
            .arg(self.repo.path(CRATE))
            .env("CARGO_TARGET_DIR", self.target())
            .env("LD_LIBRARY_PATH", &self.search);
        cargo
    }

    fn target(&self) -> PathBuf {
        let program = build::program(self.repo, false, PROGRAM);
        let target = program.ancestors().nth(2).map(PathBuf::from);
        target.unwrap_or_else(|| self.repo.path("target"))
    }

    fn scenario(&self, node: &str, tally: &mut Tally) -> Result<(), Failure> {
        let mut cargo = tools::cargo();
        cargo
            .args(["test", "--workspace", "--test", "shapes"])
            .args(build::locked())
            .args(["--", "--exact", SCENARIO])
            .env("PATH", tools::search_path(self.repo))
            .env("LD_LIBRARY_PATH", &self.search)
            .env(cassandra::ADDRESS, node)
            .env(HISTORY_PROGRAM, build::program(self.repo, false, PROGRAM));
        command::stream(&mut cargo, |line| tally.take(line))
    }
}

/// Where the library is found at run time: where it is named, before what is searched already.
fn search(library: &str) -> String {
    let already = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let places = library.split(';').chain(already.split(':'));
    let places: Vec<_> = places.filter(|place| !place.is_empty()).collect();
    places.join(":")
}
