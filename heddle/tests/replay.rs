//! The main job, small: a generated day through real sessions, once in peace and once under
//! SIGKILL.
//!
//! Real days are replayed by hand or where `HEDDLE_CORPORA` names them; the form is the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use heddle_lab::irc::generate;
use serde_json::Value;

/// Enough for five kills, small enough for a slow machine.
const PEOPLE: usize = 40;
const LINES: usize = 400;
/// More under SIGKILL: hundreds of sends are in flight at once.
const LINES_KILLED: usize = 1_500;

fn run(file: &Path, extra: &[&str]) -> Output {
    let mut heddle = Command::new(env!("CARGO_BIN_EXE_heddle"));
    // One that is exported would be driven in place of those that are started here.
    heddle.env_remove("HEDDLE_TARGET").arg("replay").arg(file);
    heddle.args(extra).output().unwrap()
}

fn replay(file: &Path, extra: &[&str]) -> Value {
    let ran = run(file, &[&["--json"], extra].concat());
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{out}\n{err}");
    serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap()
}

/// What a replay that cannot begin says.
fn refusal(file: &Path, extra: &[&str]) -> String {
    let ran = run(file, extra);
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(1), 0));
    // In one line: how wide the terminal is says nothing here.
    let told = String::from_utf8(ran.stderr).unwrap();
    told.split_whitespace().collect::<Vec<_>>().join(" ")
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

#[test]
fn a_file_that_is_no_day_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("day.txt");
    assert!(refusal(&file, &[]).contains("No such file"));
    let reasons: [(&[u8], &str); 4] = [
        (b"", "has no line that anybody says"),
        (b"\xff\x00\xfe{}\n\x80", "has no line that anybody says"),
        (
            b"=== ann has joined #loom\n",
            "has no line that anybody says",
        ),
        (
            b"[10:00] <ann> hi\n[10:01] <bob> hi\n",
            "2 people say something",
        ),
    ];
    for (bytes, reason) in reasons {
        std::fs::write(&file, bytes).unwrap();
        let told = refusal(&file, &[]);
        assert!(told.contains(reason), "{told}");
    }
}

#[test]
fn a_target_with_a_low_limit_is_told_which_one_to_raise() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Command::new(env!("CARGO_BIN_EXE_heddle"))
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = server.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let url = format!("http://{}", ready["listening"].as_str().unwrap());
    let file = dir.path().join("day.txt");
    std::fs::write(&file, generate(13, 150, LINES)).unwrap();
    let key = data.join("signing-key.pem");
    let told = refusal(&file, &["--target", &url, "--key", key.to_str().unwrap()]);
    server.kill().unwrap();
    server.wait().unwrap();
    let limit = "gateway.limits.group_members_max is 100";
    assert!(told.contains(limit) && told.contains("raise it"), "{told}");
}
