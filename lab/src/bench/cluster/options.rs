//! How a bench of a cluster is told to measure.
//!
//! Invariant: the defaults are what `cargo xtask cluster up` starts.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use heddle_plan::Size;

use super::figures::{STEPS, Step};

/// How to measure.
#[derive(Clone, Debug, Args)]
pub struct ClusterOptions {
    /// Short loads: shows that it works, measures little
    #[arg(long)]
    pub quick: bool,
    /// Rounds of which the median is taken
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// How long each load is measured, in seconds [default: 10]
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Only this load, named as in the JSON, such as paced_500; may be said again
    #[arg(long, value_name = "LOAD", value_parser = load, conflicts_with = "page")]
    pub only: Vec<Step>,
    /// Only the result, as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// The page whose section is written
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
    /// Where the services' programs lie; by default beside this one
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// The process of the node of Cassandra, to charge its CPU to
    #[arg(long, value_name = "PID")]
    pub cassandra_pid: Option<u32>,
    /// How long that node gathers writes before it syncs its commit log, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pub window_ms: u32,
    /// A directory on the disk of that commit log [default: one for temporary files]
    #[arg(long, value_name = "DIR")]
    pub disk: Option<PathBuf>,
    /// Processes of history-svc
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub history: u8,
    /// Of presence-svc
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub presence: u8,
    /// Of notify-svc
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub notify: u8,
    /// Of chat-svc
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub chat: u8,
    /// Gateways
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub gateway: u8,
}

impl ClusterOptions {
    /// How many of each.
    pub fn size(&self) -> Size {
        Size {
            history: self.history.into(),
            presence: self.presence.into(),
            notify: self.notify.into(),
            chat: self.chat.into(),
            gateway: self.gateway.into(),
        }
    }

    /// The loads of a round, in their order.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let is_wanted = |step: &Step| self.only.is_empty() || self.only.contains(step);
        STEPS.into_iter().filter(is_wanted)
    }

    /// How long each load is measured, in seconds.
    pub fn load_s(&self) -> u64 {
        self.seconds
            .unwrap_or(if self.quick { 2 } else { 10 })
            .max(1)
    }

    /// A JVM compiles what is hot only after a while.
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 30 })
    }

    /// Rounds, one at least.
    pub fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    /// A line for people.
    pub fn say(&self, what: std::fmt::Arguments) {
        if !self.json {
            eprintln!("{what}");
        }
    }
}

fn load(name: &str) -> Result<Step, String> {
    let known = || STEPS.map(Step::key).join(", ");
    let step = STEPS.into_iter().find(|step| step.key() == name);
    step.ok_or_else(|| format!("no such load; there are {}", known()))
}
