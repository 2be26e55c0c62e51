//! The main job, small: a generated day through real sessions, once in peace and once under
//! SIGKILL.
//!
//! Real days are replayed by hand or where `HEDDLE_CORPORA` names them; the form is the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::path::Path;
use std::process::Command;

use heddle_lab::irc::generate;
use serde_json::Value;

/// Enough for five kills, small enough for a slow machine.
const PEOPLE: usize = 40;
const LINES: usize = 400;
/// More under SIGKILL: hundreds of sends are in flight at once.
const LINES_KILLED: usize = 1_500;

fn replay(file: &Path, extra: &[&str]) -> Value {
    let mut heddle = Command::new(env!("CARGO_BIN_EXE_heddle"));
    let ran = heddle
        .arg("replay")
        .arg(file)
        .arg("--json")
        .args(extra)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{out}\n{err}");
    serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap()
}

fn day(dir: &Path, seed: u64, lines: usize) -> std::path::PathBuf {
    let file = dir.join("day.txt");
    std::fs::write(&file, generate(seed, PEOPLE, lines)).unwrap();
    file
}

#[test]
fn a_day_comes_out_whole_on_three_devices_each() {
    let dir = tempfile::tempdir().unwrap();
    let report = replay(&day(dir.path(), 11, LINES), &["--devices", "3"]);
    assert_eq!(report["agrees"], true, "{report}");
    assert!(report["resumes"].as_u64().unwrap() >= 200, "{report}");
}

#[test]
fn a_day_comes_out_whole_though_the_server_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let report = replay(&day(dir.path(), 12, LINES_KILLED), &["--kill-every", "50"]);
    assert_eq!(report["agrees"], true, "{report}");
    assert!(
        report["in_flight_at_kills"].as_array().unwrap().len() >= 5,
        "{report}"
    );
}
