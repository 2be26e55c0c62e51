//! What to start, and when it counts as started.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What to start, each time it is started.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// The program.
    pub program: PathBuf,
    /// What goes before it, such as `nsenter` and where; it has to become the program. Empty: no
    /// more than the program.
    pub within: Vec<String>,
    /// Its arguments; with a fixed port, so that a restart has the same one
    /// ([`super::free_port`]).
    pub args: Vec<String>,
    /// Environment variables besides the inherited ones.
    pub env: Vec<(String, String)>,
    /// The file that takes its stdout and stderr, appended to over restarts.
    pub log: PathBuf,
    /// When it counts as started.
    pub ready: Ready,
    /// How long that may take.
    pub ready_timeout: Duration,
}

/// When a server counts as started.
#[derive(Clone, Debug)]
pub enum Ready {
    /// A line of this incarnation's log contains this.
    Line(String),
    /// The address takes a connection.
    Port(SocketAddr),
}
