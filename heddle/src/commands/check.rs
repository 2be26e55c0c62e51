//! `heddle check`: judges a history that a workload wrote, or looks at every record of a store.
//!
//! The judging is `heddle-lab`'s and history-svc's; here results become lines. Exit 0 only if
//! nothing is wrong.

use crate::failure::{Failure, Outcome};
use clap::Args;
use heddle_history::{HistoryConfig, check};
use heddle_lab::checker;
use heddle_lab::progress::Progress;
use serde_json::json;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Judge a recorded history, or look at every record of a store that nobody uses
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle check history.jsonl
  heddle check --store ./data")]
pub struct CheckArgs {
    /// A history, as `cargo xtask faults` writes it
    #[arg(required_unless_present = "store", conflicts_with = "store")]
    history: Option<PathBuf>,
    /// The data directory of a server that does not run
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// True if nothing is wrong.
pub fn run(args: &CheckArgs) -> Outcome<bool> {
    match (&args.history, &args.store) {
        (Some(file), _) => history(file, args.json),
        (None, Some(data)) => store(data, args.json),
        (None, None) => Err(Failure::new(
            "nothing to check: name a history or --store DIR",
        )),
    }
}

fn history(path: &Path, is_json: bool) -> Outcome<bool> {
    let cannot = |what: &dyn std::fmt::Display| Failure::new(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| cannot(&error))?;
    let history = checker::file::load(BufReader::new(file)).map_err(|error| cannot(&error))?;
    let report = checker::check(&history);
    if is_json {
        println!("{}", json!(report));
        return Ok(report.is_clean());
    }
    let seen = &report.observed;
    println!(
        "{} sends, {} acknowledged, {} deliveries, {} final states",
        seen.sends, seen.acknowledged, seen.deliveries, seen.finals
    );
    for (verdict, count) in &report.verdicts {
        println!("{count:>8}  {verdict}");
    }
    for example in report.examples.values().flatten() {
        println!("{example}");
    }
    Ok(report.is_clean())
}

fn store(data: &Path, is_json: bool) -> Outcome<bool> {
    let mut progress: Option<Progress> = None;
    let report = check::check(&HistoryConfig::at(data), |at| {
        let bar = progress.get_or_insert_with(|| Progress::new("records", at.total, is_json));
        bar.set(at.done);
    });
    if let Some(bar) = progress {
        bar.finish();
    }
    let report = report.map_err(|error| {
        Failure::new(format!(
            "the store in {} cannot be opened: {error}",
            data.display()
        ))
    })?;
    if is_json {
        let found = json!({
            "sound": report.is_sound(), "logs": report.logs, "rows": report.rows,
            "events": report.events, "cells": report.cells, "bytes": report.bytes,
            "problem_count": report.problem_count, "problems": report.problems,
        });
        println!("{found}");
        return Ok(report.is_sound());
    }
    println!(
        "{} logs, {} rows, {} events, {} cells, {} bytes: {} problems",
        report.logs, report.rows, report.events, report.cells, report.bytes, report.problem_count
    );
    report
        .problems
        .iter()
        .for_each(|problem| println!("{problem}"));
    Ok(report.is_sound())
}
