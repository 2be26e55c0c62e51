//! Every command of a person against a real server: one life of `heddle serve`, from an empty
//! directory to Ctrl-C.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a drain may take.
const DRAIN_MAX: Duration = Duration::from_secs(5);

struct Server {
    process: Child,
    address: String,
}

fn heddle(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heddle"));
    command.args(arguments).env_remove("HEDDLE_TOKEN");
    command
}

impl Server {
    fn start(data: &Path) -> Server {
        let mut process = heddle(&["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["pid"], process.id());
        let address = ready["listening"].as_str().unwrap().to_owned();
        Server { process, address }
    }

    fn interrupt(mut self) {
        let pid = self.process.id().to_string();
        let begun = Instant::now();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
        assert!(begun.elapsed() < DRAIN_MAX);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, where the test came to its end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A person at a server.
struct Person<'a> {
    name: &'a str,
    data: &'a Path,
    address: String,
}

impl Person<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = heddle(arguments);
        command
            .args(["--as", self.name, "--target", &self.address, "--data"])
            .arg(self.data);
        command
    }

    fn run(&self, arguments: &[&str]) -> Vec<Value> {
        let lines = text(&self.command(arguments).output().unwrap());
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Lines into a chat; what it showed.
    fn chat(&self, with: &str, lines: &str) -> String {
        let mut chat = self
            .command(&["chat", "--with", with])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        chat.stdin
            .take()
            .unwrap()
            .write_all(lines.as_bytes())
            .unwrap();
        text(&chat.wait_with_output().unwrap())
    }
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn texts(events: &[Value]) -> Vec<&str> {
    let messages = events.iter().filter(|event| event["kind"] == "message");
    messages
        .map(|event| event["text"].as_str().unwrap())
        .collect()
}

#[test]
fn a_server_lives_and_people_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let at = |name| Person {
        name,
        data: &data,
        address: format!("http://{}", server.address),
    };
    let (alice, bob) = (at("alice"), at("bob"));

    let sent = alice.run(&["send", "--with", "bob", "hello", "--json"]);
    assert_eq!(sent[0]["seq"], 2);
    assert!(
        bob.chat("alice", "hi\n/who\n//slash\n")
            .contains("alice: hello")
    );
    let said = alice.run(&["history", "--with", "bob", "--json"]);
    assert_eq!(texts(&said), ["hello", "hi", "/slash"]);
    let listed = alice.run(&["conversations", "--json"]);
    assert_eq!(
        (listed.len(), &listed[0]["unread_count"]),
        (1, &Value::from(2))
    );
    let followed = alice.run(&["tail", "--from", "0", "--json", "--count", "4"]);
    let events: Vec<Value> = followed
        .into_iter()
        .map(|line| line["event"].clone())
        .collect();
    assert!(texts(&events).starts_with(&["hello"]), "{events:?}");
    let presence = alice.run(&["presence", "bob", "--json"]);
    assert_eq!(presence[0]["user_id"], "bob");

    let second = heddle(&["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .output();
    let second = second.unwrap();
    assert!(!second.status.success());
    let why = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        why.contains("another server uses this data directory"),
        "{why}"
    );
    server.interrupt();

    let server = Server::start(&data);
    let alice = Person {
        address: format!("http://{}", server.address),
        ..alice
    };
    assert_eq!(
        texts(&alice.run(&["history", "--with", "bob", "--json"])).len(),
        3
    );
    server.interrupt();
}

#[test]
fn what_goes_wrong_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let failed = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let no_key = failed(heddle(&["token", "--as", "alice", "--data"]).arg(folder.path()));
    assert!(no_key.contains("heddle serve"), "{no_key}");
    let nobody_there = failed(&mut heddle(&[
        "conversations",
        "--token",
        "x",
        "--target",
        "http://127.0.0.1:1",
    ]));
    assert!(
        nobody_there.contains("is the server there?"),
        "{nobody_there}"
    );
    let wrong = failed(&mut heddle(&["serve", "--set", "gateway.nonsense=1"]));
    assert!(
        wrong.contains("nonsense") && wrong.contains("--sample-config"),
        "{wrong}"
    );
}

#[test]
fn an_id_is_a_fresh_uuid_of_version_7() {
    let output = text(&heddle(&["id", "--json"]).output().unwrap());
    let id: Value = serde_json::from_str(&output).unwrap();
    let hex = id["hex"].as_str().unwrap();
    assert_eq!((hex.len(), &hex[12..13]), (32, "7"));
}
