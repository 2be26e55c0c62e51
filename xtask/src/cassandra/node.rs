//! The life of one node: started from a directory, known by its pid and by that directory.
//!
//! Invariant: a [`Node`] that is dropped is killed; only [`Node::leave_running`] lets it live on.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::settings::{self, Settings};
use crate::check::Failure;
use crate::command;

const READY_WITHIN: Duration = Duration::from_secs(180);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
/// CQL 4: a request OPTIONS, and the first bytes of the answer SUPPORTED.
const OPTIONS: &[u8] = &[4, 0, 0, 0, 5, 0, 0, 0, 0];
const SUPPORTED: &[u8] = &[0x84, 0, 0, 0, 6];
const PID_FILE: &str = "cassandra.pid";

/// A node that ends with this value.
pub struct Node {
    child: Child,
    dir: PathBuf,
}

impl Node {
    /// Starts a node and waits until it speaks CQL.
    pub fn start(class_path: &str, dir: &Path, settings: &Settings) -> Result<Self, Failure> {
        for part in ["conf", "tmp"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let dir = dir.canonicalize()?;
        if let Some(pid) = running(&dir)? {
            let dir = dir.display();
            return Err(Failure::wrong(format!(
                "a node runs in {dir} already, pid {pid}"
            )));
        }
        fs::write(
            dir.join("conf/cassandra.yaml"),
            settings::yaml(&dir, settings),
        )?;
        fs::write(dir.join("conf/logback.xml"), settings::logging(&dir))?;
        eprintln!("starting Cassandra in {}", dir.display());
        let began = Instant::now();
        let child = spawn(class_path, &dir, settings)?;
        let mut node = Self { child, dir };
        fs::write(node.dir.join(PID_FILE), node.child.id().to_string())?;
        node.wait_until_ready(settings.port)?;
        let took = began.elapsed().as_secs_f64();
        eprintln!(
            "Cassandra speaks CQL on 127.0.0.1:{} after {took:.1} s",
            settings.port
        );
        Ok(node)
    }

    /// The node lives on after this program; its pid.
    pub fn leave_running(self) -> Result<u32, Failure> {
        let pid = self.child.id();
        std::mem::forget(self);
        Ok(pid)
    }

    fn wait_until_ready(&mut self, port: u16) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_WITHIN;
        while !speaks_cql(port) {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failed(&format!("ended during its start ({status})")));
            }
            if Instant::now() > deadline {
                return Err(self.failed(&format!("spoke no CQL within {READY_WITHIN:?}")));
            }
            sleep(POLL);
        }
        Ok(())
    }

    fn failed(&self, what: &str) -> Failure {
        let mut last = String::new();
        for file in ["stdout.log", "system.log"] {
            let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            last += &lines[lines.len().saturating_sub(15)..].join("\n");
            last.push('\n');
        }
        Failure::wrong(format!("Cassandra {what}; its last words:\n{last}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself; what matters is that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(self.dir.join(PID_FILE));
    }
}

/// Stops the node of a directory; whether one ran.
pub fn stop(dir: &Path, at_once: bool) -> Result<bool, Failure> {
    let Ok(dir) = dir.canonicalize() else {
        return Ok(false);
    };
    let Some(pid) = running(&dir)? else {
        return Ok(false);
    };
    signal(pid, if at_once { "KILL" } else { "TERM" })?;
    let deadline = Instant::now() + STOPPED_WITHIN;
    while running(&dir)?.is_some() {
        if Instant::now() > deadline {
            signal(pid, "KILL")?;
        }
        sleep(POLL);
    }
    fs::remove_file(dir.join(PID_FILE))?;
    Ok(true)
}

/// The pid in a directory's file, if that is a live process started from this directory.
pub fn running(dir: &Path) -> Result<Option<u32>, Failure> {
    let pid = match fs::read_to_string(dir.join(PID_FILE)) {
        Ok(text) => text.trim().parse().ok(),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let own_flag = settings::storage_dir(&dir.display().to_string());
    let is_ours = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0)
            .any(|word| word == own_flag.as_bytes())
    };
    Ok(pid.filter(is_ours))
}

fn signal(pid: u32, name: &str) -> Result<(), Failure> {
    // It may end between the look and the signal, which is what was wanted.
    let _ = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .stderr(Stdio::null())
        .status()?;
    Ok(())
}

fn spawn(class_path: &str, dir: &Path, settings: &Settings) -> Result<Child, Failure> {
    let log = File::create(dir.join("stdout.log"))?;
    let mut java = launcher(settings.lives_on);
    java.args(settings::jvm(dir, settings));
    java.arg("-cp")
        .arg(format!("{}/conf:{class_path}", dir.display()));
    java.arg("org.apache.cassandra.service.CassandraDaemon");
    java.current_dir(dir).stdin(Stdio::null());
    java.stdout(log.try_clone()?).stderr(log);
    Ok(java.spawn()?)
}

/// A node that lives on is not reached by an interrupt meant for us; any other does not outlive us,
/// even if we are killed.
fn launcher(lives_on: bool) -> Command {
    let (wrapper, arguments): (_, &[&str]) = match lives_on {
        true => ("setsid", &["java"]),
        false => ("setpriv", &["--pdeathsig", "KILL", "java"]),
    };
    if !command::is_installed(wrapper, "--version") {
        return Command::new("java");
    }
    let mut java = Command::new(wrapper);
    java.args(arguments);
    java
}

fn speaks_cql(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut stream = TcpStream::connect_timeout(&address, POLL)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(OPTIONS)?;
        let mut answer = [0; SUPPORTED.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer == SUPPORTED)
    };
    ask().unwrap_or(false)
}
