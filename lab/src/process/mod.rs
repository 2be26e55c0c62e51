//! Server processes of one's own: started, killed, paused and started again on the same data.
//!
//! Used by replays with kills, benches and the fault suites. Knows no protocol: a server is ready
//! when its log has a certain line or its port takes a connection.
//!
//! Invariant: no process outlives its [`Server`]; dropping one kills and reaps it.

mod error;
pub mod network;
mod ports;
mod spec;

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::time::sleep;

pub use error::ProcessError;
pub use ports::free_port;
pub use spec::{Ready, ServerSpec};

/// How often a condition is looked at while waiting.
const POLL: Duration = Duration::from_millis(5);
/// How long stopping all threads may take.
const HALT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a log an error quotes, in bytes.
const TAIL_BYTES_MAX: u64 = 2048;

/// A server process, or the place of one between a kill and a restart.
#[derive(Debug)]
pub struct Server {
    spec: ServerSpec,
    child: Option<Child>,
    /// Where this incarnation's part of the log begins.
    log_start: u64,
    starts: u32,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub async fn start(spec: ServerSpec) -> Result<Server, ProcessError> {
        let mut server = Server {
            spec,
            child: None,
            log_start: 0,
            starts: 0,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Starts it again, after killing it if it still runs, and waits until it is ready.
    pub async fn restart(&mut self) -> Result<(), ProcessError> {
        self.kill();
        self.spawn().map_err(|cause| self.io(cause))?;
        self.wait_ready().await
    }

    /// From its next start on it is the program of the same name in this directory.
    pub fn use_program(&mut self, dir: &Path) {
        if let Some(name) = self.spec.program.file_name() {
            self.spec.program = dir.join(name);
        }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// What it is made of.
    pub fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// Whether it runs (a paused one does).
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// SIGKILL, and reaps it. Returns when it is gone; does nothing if it is not running.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only for a process that has ended; `wait` reaps it all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: it stays, but does nothing until [`resume`](Self::resume).
    pub fn pause(&self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)
    }

    /// The same, and returns when every thread is stopped or within a system call that can't be
    /// interrupted, such as a sync.
    pub fn halt(&self) -> Result<(), ProcessError> {
        self.pause()?;
        let deadline = Instant::now() + HALT_TIMEOUT;
        while !self.is_halted().map_err(|cause| self.io(cause))? {
            if Instant::now() >= deadline {
                return Err(self.timeout("halted", HALT_TIMEOUT));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    fn is_halted(&self) -> io::Result<bool> {
        let tasks = format!("/proc/{}/task", self.pid().unwrap_or_default());
        for task in std::fs::read_dir(tasks)? {
            let stat = std::fs::read_to_string(task?.path().join("stat"))?;
            // The state follows the name, which stands in parentheses and may hold any character.
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            if !matches!(state, Some('T' | 'D')) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM, and waits for it to end; after `grace` that is an error and it runs on.
    pub async fn terminate(&mut self, grace: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + grace;
        loop {
            if let Some(status) = self.exited()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.timeout("gone", grace));
            }
            sleep(POLL).await;
        }
    }

    /// What this incarnation has said so far.
    pub fn log(&self) -> Result<String, ProcessError> {
        read_from(&self.spec.log, self.log_start).map_err(|cause| self.io(cause))
    }

    /// Waits for a line of this incarnation's log that contains `part`.
    pub async fn wait_for_line(
        &mut self,
        part: &str,
        timeout: Duration,
    ) -> Result<String, ProcessError> {
        let deadline = Instant::now() + timeout;
        loop {
            // Asked before reading, so that the last words of one that ends are not missed.
            let ended = self.exited()?;
            let log = self.log()?;
            let whole_lines = log
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            if let Some(line) = whole_lines
                .map(str::trim_end)
                .find(|line| line.contains(part))
            {
                return Ok(line.to_owned());
            }
            self.check_waiting(ended, deadline, timeout)?;
            sleep(POLL).await;
        }
    }

    async fn wait_ready(&mut self) -> Result<(), ProcessError> {
        let timeout = self.spec.ready_timeout;
        match self.spec.ready.clone() {
            Ready::Line(part) => self.wait_for_line(&part, timeout).await.map(drop),
            Ready::Port(address) => self.wait_for_port(address, timeout).await,
        }
    }

    async fn wait_for_port(
        &mut self,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<(), ProcessError> {
        let deadline = Instant::now() + timeout;
        while TcpStream::connect(address).await.is_err() {
            let ended = self.exited()?;
            self.check_waiting(ended, deadline, timeout)?;
            sleep(POLL).await;
        }
        // Somebody else's server on the port must not pass for this one.
        let ended = self.exited()?;
        self.check_waiting(ended, deadline + POLL, timeout)
    }

    fn check_waiting(
        &self,
        ended: Option<ExitStatus>,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<(), ProcessError> {
        if let Some(status) = ended {
            let (program, log_tail) = (self.program(), self.log_tail());
            return Err(ProcessError::Ended {
                program,
                status,
                log_tail,
            });
        }
        if Instant::now() >= deadline {
            return Err(self.timeout("ready", timeout));
        }
        Ok(())
    }

    fn spawn(&mut self) -> io::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.spec.log)?;
        self.log_start = log.metadata()?.len();
        let mut words = self.spec.within.iter();
        let mut command = match words.next() {
            Some(first) => Command::new(first),
            None => Command::new(&self.spec.program),
        };
        if !self.spec.within.is_empty() {
            command.args(words).arg(&self.spec.program);
        }
        let child = command
            .args(&self.spec.args)
            .envs(self.spec.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        self.starts += 1;
        Ok(())
    }

    fn exited(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        let program = self.program();
        let Some(child) = &mut self.child else {
            return Err(ProcessError::NotRunning { program });
        };
        child
            .try_wait()
            .map_err(|cause| ProcessError::Io { program, cause })
    }

    fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let pid = self
            .pid()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| ProcessError::NotRunning {
            program: self.program(),
        })?;
        kill_process(pid, signal).map_err(|cause| self.io(cause.into()))
    }

    fn program(&self) -> String {
        self.spec.program.display().to_string()
    }

    fn io(&self, cause: io::Error) -> ProcessError {
        ProcessError::Io {
            program: self.program(),
            cause,
        }
    }

    fn timeout(&self, what: &'static str, waited: Duration) -> ProcessError {
        let (program, log_tail) = (self.program(), self.log_tail());
        ProcessError::Timeout {
            program,
            what,
            waited,
            log_tail,
        }
    }

    fn log_tail(&self) -> String {
        let length = std::fs::metadata(&self.spec.log).map_or(0, |data| data.len());
        let start = length.saturating_sub(TAIL_BYTES_MAX).max(self.log_start);
        read_from(&self.spec.log, start).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_from(path: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
