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
const SHELL: &str = "sh";
/// How late the kernel may wake a sleeping thread, threads that it starts included; 50,000 by
/// default. Idle workers of Cassandra look for work in sleeps of 10 us, thousands a second, which
/// takes a third of a core of an idle node (docs/operations.md).
const TIMER_SLACK_NS: u32 = 1_000_000;

/// A node that ends with this value.
pub struct Node {
    child: Child,
    dir: PathBuf,
}

impl Node {
    /// Starts a node and waits until it speaks CQL.
    pub fn start(class_path: &str, dir: &Path, settings: &Settings) -> Result<Self, Failure> {
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        if let Some(pid) = running(&dir)? {
            let dir = dir.display();
            return Err(Failure::wrong(format!(
                "a node runs in {dir} already, pid {pid}"
            )));
        }
        let (launcher, arguments) = prepare(class_path, &dir, settings)?;
        eprintln!("starting Cassandra in {}", dir.display());
        let began = Instant::now();
        let child = spawn(&launcher, &arguments, &dir)?;
        let mut node = Self { child, dir };
        fs::write(node.dir.join(PID_FILE), node.child.id().to_string())?;
        node.wait_until_ready((settings.address, settings.port).into())?;
        let took = began.elapsed().as_secs_f64();
        eprintln!(
            "Cassandra speaks CQL on {}:{} after {took:.1} s",
            settings.address, settings.port
        );
        Ok(node)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The node lives on after this program; its pid.
    pub fn leave_running(self) -> Result<u32, Failure> {
        let pid = self.child.id();
        std::mem::forget(self);
        Ok(pid)
    }

    fn wait_until_ready(&mut self, address: SocketAddr) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_WITHIN;
        while !speaks_cql(address) {
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

/// Writes a node's files; the program and the arguments that start it.
pub fn prepare(
    class_path: &str,
    dir: &Path,
    settings: &Settings,
) -> Result<(String, Vec<String>), Failure> {
    for part in ["conf", "tmp"] {
        fs::create_dir_all(dir.join(part))?;
    }
    fs::write(
        dir.join("conf/cassandra.yaml"),
        settings::yaml(dir, settings),
    )?;
    fs::write(dir.join("conf/logback.xml"), settings::logging(dir))?;
    let (program, mut arguments) = launcher(settings.lives_on);
    arguments.extend(settings::jvm(dir, settings));
    let class_path = format!("{}/conf:{class_path}", dir.display());
    let daemon = "org.apache.cassandra.service.CassandraDaemon";
    arguments.extend(["-cp".to_owned(), class_path, daemon.to_owned()]);
    Ok((program, arguments))
}

/// Waits until a node that somebody else has started speaks CQL.
pub fn wait_for(address: SocketAddr) -> Result<(), Failure> {
    let deadline = Instant::now() + READY_WITHIN;
    while !speaks_cql(address) {
        if Instant::now() > deadline {
            let text = format!("Cassandra spoke no CQL on {address} within {READY_WITHIN:?}");
            return Err(Failure::wrong(text));
        }
        sleep(POLL);
    }
    Ok(())
}

fn spawn(program: &str, arguments: &[String], dir: &Path) -> Result<Child, Failure> {
    let log = File::create(dir.join("stdout.log"))?;
    let mut java = Command::new(program);
    java.args(arguments).current_dir(dir).stdin(Stdio::null());
    java.stdout(log.try_clone()?).stderr(log);
    Ok(java.spawn()?)
}

/// A node that lives on is not reached by an interrupt meant for us; any other does not outlive us,
/// even if we are killed.
fn launcher(lives_on: bool) -> (String, Vec<String>) {
    let (wrapper, arguments): (_, &[&str]) = match lives_on {
        true => ("setsid", &[]),
        false => ("setpriv", &["--pdeathsig", "KILL"]),
    };
    let slack = format!(
        "{{ echo {TIMER_SLACK_NS} >/proc/self/timerslack_ns; }} 2>/dev/null; exec \"$0\" \"$@\""
    );
    let java = ["-c".to_owned(), slack, "java".to_owned()];
    if !command::is_installed(wrapper, "--version") {
        return (SHELL.to_owned(), java.to_vec());
    }
    let words = arguments.iter().chain(&[SHELL]);
    let words = words.map(|&word| word.to_owned()).chain(java);
    (wrapper.to_owned(), words.collect())
}

fn speaks_cql(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, POLL)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(OPTIONS)?;
        let mut answer = [0; SUPPORTED.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer == SUPPORTED)
    };
    ask().unwrap_or(false)
}
