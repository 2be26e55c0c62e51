//! Process: one of the cluster's, known by its directory, which is also where it runs.
//!
//! A directory holds the command line (`command`, one word a line), the pid and the log, so that a
//! process can be started again as it was.
//!
//! Invariant: only a process that runs in its own directory is ever sent a signal.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::check::Failure;

/// How long a process may take to end before it is killed.
const ENDED_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);
/// Runs what follows in a session of its own.
const SETSID: &str = "setsid";

/// A process, running or not.
#[derive(Clone, Debug)]
pub struct Process {
    dir: PathBuf,
}

impl Process {
    /// The one of a directory.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// All below a directory, in the order of their names.
    pub fn all(cluster: &Path) -> Result<Vec<Self>, Failure> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(cluster) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let dir = entry?.path();
            if dir.join("command").is_file() {
                found.push(Self { dir });
            }
        }
        found.sort_by(|one, other| one.dir.cmp(&other.dir));
        Ok(found)
    }

    /// Such as `chat-svc/2`, whose directory is `chat-svc-2`.
    pub fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        match name.rsplit_once('-') {
            Some((service, number)) if number.parse::<u32>().is_ok() => {
                format!("{service}/{number}")
            }
            _ => name.into_owned(),
        }
    }

    /// Where its log is.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Keeps how it is started.
    pub fn define(&self, program: &Path, arguments: &[String]) -> Result<(), Failure> {
        fs::create_dir_all(&self.dir)?;
        let mut lines = program.display().to_string();
        for argument in arguments {
            lines.push('\n');
            lines.push_str(argument);
        }
        Ok(fs::write(self.dir.join("command"), lines)?)
    }

    /// Of one that does not run: forgets how it was started. Its data and its log stay.
    pub fn forget(&self) -> Result<(), Failure> {
        for file in ["pid", "command"] {
            match fs::remove_file(self.dir.join(file)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts it, unless it runs; it outlives this program.
    pub fn start(&self) -> Result<(), Failure> {
        if self.pid()?.is_some() {
            return Ok(());
        }
        let lines = fs::read_to_string(self.dir.join("command"))?;
        let mut words = lines.lines();
        let program = words.next().unwrap_or_default();
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // An interrupt of this terminal is not meant for it. `setsid` sees to that by itself, and
        // would go on under another pid in a group of its own.
        if program != SETSID {
            command.process_group(0);
        }
        let child = command
            .spawn()
            .map_err(|error| Failure::wrong(format!("{program} did not start: {error}")))?;
        Ok(fs::write(self.dir.join("pid"), child.id().to_string())?)
    }

    /// Its pid while it runs.
    pub fn pid(&self) -> Result<Option<u32>, Failure> {
        let pid = match fs::read_to_string(self.dir.join("pid")) {
            Ok(text) => text.trim().parse::<u32>().ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let own = self.dir.canonicalize().ok();
        let runs = |pid: &u32| {
            let place = fs::read_link(format!("/proc/{pid}/cwd")).ok();
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            place.is_some() && place == own && !state.contains(") Z ")
        };
        Ok(pid.filter(runs))
    }

    /// Sends a signal; whether it ran.
    pub fn signal(&self, name: &str) -> Result<bool, Failure> {
        let Some(pid) = self.pid()? else {
            return Ok(false);
        };
        // It may end between the look and the signal, which is what was wanted.
        let _ = Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .stderr(Stdio::null())
            .status()?;
        Ok(true)
    }

    /// Waits until it has ended, and kills it if that takes too long.
    pub fn ended(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + ENDED_WITHIN;
        while self.pid()?.is_some() {
            if Instant::now() > deadline {
                self.signal("KILL")?;
            }
            sleep(POLL);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nodes of Cassandra are.
    #[test]
    fn a_process_with_a_session_of_its_own_is_known_by_its_pid() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::at(dir.path().join("cassandra-1"));
        let arguments = ["sleep", "600"].map(str::to_owned);
        process.define(Path::new(SETSID), &arguments).unwrap();
        process.start().unwrap();
        let pid = process.pid().unwrap().expect("it runs");
        let is_sleep = || {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with("sleep")
        };
        let deadline = Instant::now() + ENDED_WITHIN;
        while !is_sleep() {
            assert!(
                Instant::now() < deadline,
                "setsid went on as another process"
            );
            // tidy: allow-sleep looks again at a condition, within a deadline
            sleep(POLL);
        }
        assert!(process.signal("KILL").unwrap());
        process.ended().unwrap();
    }

    #[test]
    fn a_process_is_started_signalled_and_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::at(dir.path().join("chat-svc-2"));
        process
            .define(Path::new("sleep"), &["600".to_owned()])
            .unwrap();
        assert_eq!(process.name(), "chat-svc/2");
        assert!(!process.signal("KILL").unwrap(), "it does not run yet");
        for signal in ["KILL", "TERM"] {
            process.start().unwrap();
            let pid = process.pid().unwrap();
            assert!(pid.is_some());
            process.start().unwrap();
            assert_eq!(process.pid().unwrap(), pid, "it runs already");
            assert!(process.signal(signal).unwrap());
            process.ended().unwrap();
        }
        let all = Process::all(dir.path()).unwrap();
        assert_eq!(all.len(), 1);
        process.forget().unwrap();
        process.forget().unwrap();
        assert!(Process::all(dir.path()).unwrap().is_empty());
        assert!(process.log().is_file(), "what it has written stays");
    }

    #[test]
    fn a_stranger_with_the_same_pid_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::at(dir.path().join("gateway-1"));
        process.define(Path::new("true"), &[]).unwrap();
        let own_pid = std::process::id().to_string();
        fs::write(dir.path().join("gateway-1/pid"), own_pid).unwrap();
        assert_eq!(process.pid().unwrap(), None);
    }
}
