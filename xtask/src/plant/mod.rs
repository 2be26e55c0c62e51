//! Planted bugs: each patch in `xtask/plants` breaks a promise, and a named test must notice.
//!
//! `cargo xtask plant` shows that the suite would catch these mistakes; [`patch`] reads the
//! patches, [`scratch`] is the copy of the checkout in which they are tried, [`page`] lists them.
//!
//! Invariant: a bug counts as caught only if it compiles, each command named with it fails, and the
//! same command passes without it.

mod page;
mod patch;
mod scratch;

use std::collections::BTreeSet;

use crate::check::{Failure, Outcome};
use crate::command;
use crate::repo::Repo;
use patch::Plant;
use scratch::{Ran, Scratch};

/// Prints what there is to plant.
pub fn list(repo: &Repo) -> Outcome {
    let plants = patch::all(repo)?;
    for plant in &plants {
        println!("{:32} {}", plant.name, plant.bug);
    }
    Ok(format!("{} bugs", plants.len()))
}

/// Writes the page.
pub fn write_page(repo: &Repo) -> Outcome {
    page::write(repo, &patch::all(repo)?)
}

/// Whether every patch still applies, is complete, and stands in the page: cheap, so that they
/// can't rot unseen.
pub fn check(repo: &Repo) -> Outcome {
    let plants = patch::all(repo)?;
    for plant in &plants {
        let mut git = scratch::git(repo.root());
        git.args(["apply", "--check"]).arg(repo.path(&plant.path));
        command::run(&mut git).map_err(|_| {
            Failure::wrong(format!(
                "{} does not apply any more: plant the same bug in today's code",
                plant.path
            ))
        })?;
    }
    page::check(repo, &plants)?;
    Ok(format!("{} planted bugs", plants.len()))
}

/// Plants the bugs named, or all of them, one after the other; whether each was caught.
pub fn run(repo: &Repo, names: &[String], all: bool) -> Result<bool, Failure> {
    let plants = chosen(patch::all(repo)?, names, all)?;
    let scratch = Scratch::prepare(repo)?;
    let tests: BTreeSet<_> = plants.iter().flat_map(Plant::commands).collect();
    for test in tests {
        let ran = scratch.run(test, "unharmed")?;
        if ran == Ran::Failed {
            let log = scratch.log("unharmed");
            return Err(Failure::wrong(format!(
                "{test} fails with nothing planted; see {}",
                log.display()
            )));
        }
    }
    let mut verdicts = Vec::new();
    for plant in &plants {
        let verdict = one(repo, &scratch, plant)?;
        println!("{:32} {}", plant.name, verdict.text());
        verdicts.push(verdict);
    }
    let count = |wanted| verdicts.iter().filter(|found| **found == wanted).count();
    let [caught, half, skipped] = [Verdict::Caught, Verdict::Half, Verdict::Skipped].map(count);
    println!(
        "\n{caught} caught, {half} by their tests alone, {skipped} not tried, of {}",
        plants.len()
    );
    Ok(caught + half + skipped == plants.len())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Caught,
    Missed,
    /// Its test noticed; this machine does not allow the fault run that has to as well.
    Half,
    Skipped,
}

impl Verdict {
    fn of(ran: &[Ran]) -> Self {
        let any = |wanted| ran.contains(&wanted);
        match (any(Ran::Passed), any(Ran::Impossible), any(Ran::Failed)) {
            (true, ..) => Verdict::Missed,
            (false, true, true) => Verdict::Half,
            (false, true, false) => Verdict::Skipped,
            (false, false, _) => Verdict::Caught,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Verdict::Caught => "caught",
            Verdict::Missed => "MISSED: the test passes all the same",
            Verdict::Half => {
                "caught by its test; the FAULT RUN WAS NOT TRIED: this machine does not allow it"
            }
            Verdict::Skipped => "NOT TRIED: this machine does not allow the test",
        }
    }
}

fn one(repo: &Repo, scratch: &Scratch, plant: &Plant) -> Result<Verdict, Failure> {
    let patch = repo.path(&plant.path);
    scratch.apply(&patch)?;
    let logs = [plant.name.clone(), format!("{}-under-load", plant.name)];
    let ran: Result<Vec<Ran>, Failure> = plant
        .commands()
        .zip(logs)
        .map(|(command, log)| scratch.run(command, &log))
        .collect();
    // Taken back whatever came of it, so that the next one starts from the same place.
    scratch.take_back(&patch)?;
    Ok(Verdict::of(&ran?))
}

fn chosen(plants: Vec<Plant>, names: &[String], all: bool) -> Result<Vec<Plant>, Failure> {
    if let Some(unknown) = names
        .iter()
        .find(|name| plants.iter().all(|plant| plant.name != **name))
    {
        return Err(Failure::wrong(format!(
            "no planted bug is called {unknown}; `cargo xtask plant --list` lists them"
        )));
    }
    if names.is_empty() && !all {
        return Err(Failure::wrong("name a planted bug, or say --all"));
    }
    let is_chosen = |plant: &Plant| all || names.contains(&plant.name);
    Ok(plants.into_iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plant_is_caught_only_if_each_of_its_commands_failed() {
        use Ran::{Failed, Impossible, Passed};
        assert_eq!(Verdict::of(&[Failed]), Verdict::Caught);
        assert_eq!(Verdict::of(&[Failed, Failed]), Verdict::Caught);
        assert_eq!(Verdict::of(&[Failed, Passed]), Verdict::Missed);
        assert_eq!(Verdict::of(&[Passed, Impossible]), Verdict::Missed);
        assert_eq!(Verdict::of(&[Failed, Impossible]), Verdict::Half);
        assert_eq!(Verdict::of(&[Impossible]), Verdict::Skipped);
    }
}
