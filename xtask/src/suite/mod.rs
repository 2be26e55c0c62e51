//! `cargo xtask test`: every check of the project in one command, for people and for CI.
//!
//! `steps` says what there is (`cassandra_cpp` is one of them), `tally` counts tests, `report`
//! prints. One failure does not hide the next: all steps run, but for those whose need has failed.
//! Invariant: the last line of a run is `N passed, N failed`, and it says 0 failed exactly when the
//! exit code is 0.

mod cassandra_cpp;
mod report;
mod steps;
pub mod tally;

use std::time::{Duration, Instant};

use crate::cassandra;
use crate::check::{Failure, Outcome};
use crate::repo::Repo;
use crate::tools;
use steps::{STEPS, Step};
use tally::Tally;

/// What became of one step.
#[derive(Debug)]
enum State {
    Passed(String),
    Failed(String),
    /// The machine lacks something: loud, and a failure in CI.
    Missing(String),
    /// Not run, since this machine does not allow it.
    Impossible(String),
    /// Not run, since the step named here failed.
    Skipped(&'static str),
}

/// One row of the final table.
#[derive(Debug)]
struct Row {
    name: &'static str,
    state: State,
    tally: Tally,
    took: Duration,
}

/// Prints what `--only` can name.
pub fn list() {
    for step in STEPS {
        println!("{:8} {}", step.name, step.about);
    }
}

/// Runs the steps named, or all of them; the answer is whether the run as a whole passed.
pub fn run(repo: &Repo, only: &[String], fail_fast: bool) -> Result<bool, Failure> {
    let chosen = choose(only)?;
    let _stops_what_steps_started = cassandra::StopAtEnd;
    let mut rows: Vec<Row> = Vec::new();
    for step in chosen {
        report::heading(step);
        let row = row(step, &rows, |tally| (step.run)(repo, tally));
        report::ended(&row);
        let failed = row.failures(tools::in_ci()) > 0;
        rows.push(row);
        if failed && fail_fast {
            break;
        }
    }
    let failed = rows.iter().map(|row| row.failures(tools::in_ci())).sum();
    report::table(&rows, failed);
    Ok(failed == 0)
}

fn choose(only: &[String]) -> Result<Vec<&'static Step>, Failure> {
    if let Some(unknown) = only
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != **name))
    {
        return Err(Failure::wrong(format!(
            "no step is called {unknown}; `cargo xtask test --list` lists them"
        )));
    }
    let is_chosen = |step: &&Step| only.is_empty() || only.iter().any(|name| name == step.name);
    Ok(STEPS.iter().filter(is_chosen).collect())
}

fn row(step: &Step, before: &[Row], run: impl FnOnce(&mut Tally) -> Outcome) -> Row {
    let began = Instant::now();
    let mut tally = Tally::default();
    let failed = |need: &&str| {
        before
            .iter()
            .any(|row| row.name == *need && !matches!(row.state, State::Passed(_)))
    };
    let state = match step.needs.filter(failed) {
        Some(need) => State::Skipped(need),
        None => match run(&mut tally) {
            Ok(note) => State::Passed(note),
            Err(Failure::Wrong(why)) => State::Failed(why),
            Err(Failure::Missing(what)) => State::Missing(what),
            Err(Failure::Impossible(why)) => State::Impossible(why),
        },
    };
    Row {
        name: step.name,
        state,
        tally,
        took: began.elapsed(),
    }
}

impl Row {
    /// Failed tests; 1 for a step that failed in another way.
    fn failures(&self, in_ci: bool) -> u64 {
        let step_failed = match self.state {
            State::Failed(_) => true,
            State::Missing(_) | State::Skipped(_) => in_ci,
            State::Passed(_) | State::Impossible(_) => false,
        };
        self.tally.failed.max(u64::from(step_failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, needs: Option<&'static str>) -> Step {
        Step {
            name,
            about: "",
            needs,
            run: |_, _| Ok(String::new()),
        }
    }

    #[test]
    fn a_step_whose_need_failed_is_not_run() {
        let build = row(&step("build", None), &[], |_| Err(Failure::wrong("no")));
        let e2e = row(&step("e2e", Some("build")), &[build], |_| panic!("ran"));
        assert!(matches!(e2e.state, State::Skipped("build")));
        let alone = row(&step("e2e", Some("build")), &[], |_| Ok(String::new()));
        assert!(matches!(alone.state, State::Passed(_)));
    }

    #[test]
    fn a_failed_step_counts_its_tests_or_one() {
        let failing = row(&step("fmt", None), &[], |_| Err(Failure::wrong("no")));
        assert_eq!(failing.failures(false), 1);
        let tests = row(&step("unit", None), &[], |tally| {
            tally.failed = 3;
            Err(Failure::wrong("3 failed"))
        });
        assert_eq!(tests.failures(false), 3);
    }

    #[test]
    fn what_is_missing_fails_only_in_ci() {
        let missing = row(&step("deny", None), &[], |_| {
            Err(Failure::missing("cargo-deny"))
        });
        assert_eq!((missing.failures(false), missing.failures(true)), (0, 1));
    }

    #[test]
    fn an_unknown_step_is_refused_and_needs_name_earlier_steps() {
        assert!(choose(&["ftm".to_owned()]).is_err());
        assert_eq!(choose(&[]).unwrap().len(), STEPS.len());
        for (index, step) in STEPS.iter().enumerate() {
            let known = |need| STEPS[..index].iter().any(|earlier| earlier.name == need);
            assert!(step.needs.is_none_or(known), "{}", step.name);
        }
    }
}
