//! The benches: `heddle bench direct | paced | group | idle | resume | stalled | push`, each
//! against one server.
//!
//! A process of its own over TCP; recipients acknowledge and mark as read. [`compare`] runs them
//! against Heddle and the bare relays in turns, [`cluster`] one of its own against the services as
//! processes on Cassandra. [`drive`] is one load over any transport, [`idle`],
//! [`resume`], [`stalled`] and [`push`] are more than one load or none.
//!
//! Invariant: a figure comes with what was raised for it and with what did not arrive.

pub mod cluster;
pub mod compare;
pub mod crowd;
pub mod idle;
mod page;
pub mod push;
pub mod resume;
mod section;
pub mod stalled;

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::load::{self, ChatTransport, LoadError, LoadReport, Plan};
use crate::measure::{StatError, raise_open_files};
use crate::target::transport::HeddleTransport;
use crate::target::{HeddleServer, ServerOptions, Target, TargetError, TargetOptions};

/// Files that a process needs beside its sessions.
const OTHER_FILES: u64 = 200;
/// Members of a group, who speaks among them.
const GROUP_MEMBERS: u32 = 100;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Pairs that keep sends in flight all the time
    Direct,
    /// Pairs that send at a fixed rate, come what may
    Paced,
    /// One sender to a group
    Group,
    /// Sessions that do nothing: memory
    Idle,
    /// A device that comes back after many events
    Resume,
    /// Pairs beside groups that have all stopped reading, against the same groups being read
    Stalled,
    /// People who are away, whose pushes go to a provider on loopback
    Push,
}

/// How to measure.
#[derive(Clone, Debug, Args)]
pub struct BenchOptions {
    /// What is measured
    #[arg(value_enum)]
    pub load: Load,
    #[command(flatten)]
    /// Which server.
    pub target: TargetOptions,
    /// The server's process, to charge its CPU and memory to
    #[arg(long)]
    pub pid: Option<u32>,
    /// People: of direct, paced and stalled in pairs, of group the members, of push who is away
    #[arg(long)]
    pub users: Option<u32>,
    /// direct: sends that each keeps unanswered
    #[arg(long, default_value_t = 16)]
    pub in_flight: u32,
    /// paced, group, stalled: messages a second in all [default: 2000, 100, 2000]
    #[arg(long)]
    pub rate: Option<u32>,
    /// How long is measured [default: 10; idle: 180, stalled: 60]
    #[arg(long)]
    pub seconds: Option<u64>,
    /// idle: sessions
    #[arg(long, default_value_t = 10_000)]
    pub sessions: u32,
    /// resume: events that the device has missed
    #[arg(long, default_value_t = 10_000)]
    pub events: u32,
    /// stalled: groups, of 100 members each
    #[arg(long, default_value_t = 10)]
    pub groups: u32,
    /// stalled: times that both are measured, in turns; the median counts
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// One line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Why a bench has no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The server.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The server's process.
    #[error(transparent)]
    Stat(#[from] StatError),
    /// The limit of open files is too low.
    #[error(
        "{needed} sessions need as many open files and this process may have {limit}: raise \
             `ulimit -n`"
    )]
    Files {
        /// Sessions.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// A session that did not do what was expected.
    #[error("{0}")]
    Session(String),
    /// Writing a page or a file.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// What came of a bench.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum BenchReport {
    /// Of direct, paced and group.
    Load(Box<LoadReport>),
    /// Of idle.
    Idle(idle::IdleReport),
    /// Of resume.
    Resume(resume::ResumeReport),
    /// Of stalled.
    Stalled(stalled::StalledReport),
    /// Of push.
    Push(push::PushReport),
}

impl BenchReport {
    /// Nothing was lost or refused.
    pub fn is_complete(&self) -> bool {
        match self {
            BenchReport::Load(report) => report.is_complete(),
            BenchReport::Stalled(report) => report.is_complete(),
            BenchReport::Push(report) => report.arrived == report.due,
            BenchReport::Idle(_) | BenchReport::Resume(_) => true,
        }
    }
}

/// Measures, and prints what it had to raise.
pub async fn run(options: &BenchOptions) -> Result<BenchReport, BenchError> {
    let sessions = match options.load {
        Load::Idle => options.sessions,
        Load::Stalled => options.users.unwrap_or(200) + options.groups * GROUP_MEMBERS,
        _ => options.users.unwrap_or(200),
    };
    raise_files(u64::from(sessions))?;
    if options.load == Load::Push {
        // Its server has to know where the provider is.
        let recipients = options.users.unwrap_or(100) as usize;
        return Ok(BenchReport::Push(push::run(recipients.max(1)).await?));
    }
    let server = ServerOptions::default().without_rates();
    let (target, mut server) = options.target.open(server).await?;
    if let Some(server) = &server {
        server
            .raised()
            .iter()
            .for_each(|raised| eprintln!("raised for this: {raised}"));
    }
    let pid = options.pid.or(server.as_ref().and_then(HeddleServer::pid));
    Ok(match options.load {
        Load::Idle => {
            let hold = Duration::from_secs(options.seconds.unwrap_or(180));
            let transport = HeddleTransport::alone(&target)?;
            BenchReport::Idle(idle::run(&transport, options.sessions, hold, pid).await?)
        }
        Load::Resume => {
            let report = resume::run(&target, server.as_mut(), options.events).await?;
            BenchReport::Resume(report)
        }
        Load::Stalled => {
            let plan = options.stalled(pid);
            BenchReport::Stalled(stalled::run(&target, &plan).await?)
        }
        _ => {
            let mut plan = options.plan();
            plan.server_pid = pid;
            BenchReport::Load(Box::new(drive_heddle(&target, &plan).await?))
        }
    })
}

impl BenchOptions {
    fn stalled(&self, pid: Option<u32>) -> stalled::StalledPlan {
        let mut pairs = plan(Load::Paced, self.users, self.in_flight, self.rate);
        pairs.duration = Duration::from_secs(self.seconds.unwrap_or(60));
        let (groups, members) = (self.groups, GROUP_MEMBERS);
        stalled::StalledPlan {
            crowd: crowd::Size { groups, members },
            pairs,
            rounds: self.rounds,
            pid,
        }
    }

    fn plan(&self) -> Plan {
        let mut plan = plan(self.load, self.users, self.in_flight, self.rate);
        plan.duration = Duration::from_secs(self.seconds.unwrap_or(10));
        plan
    }
}

/// The loads as the goals name them. A group has 100 members, the sender among them.
pub(crate) fn plan(load: Load, users: Option<u32>, in_flight: u32, rate: Option<u32>) -> Plan {
    match load {
        Load::Paced => Plan::paced_pairs(users.unwrap_or(200), rate.unwrap_or(2000)),
        Load::Group => {
            let members = users.unwrap_or(GROUP_MEMBERS).max(3);
            Plan::group(members - 1, rate.unwrap_or(100))
        }
        _ => Plan::pairs(users.unwrap_or(200), in_flight),
    }
}

/// Makes the plan's conversations and carries it out.
pub(crate) async fn drive_heddle(target: &Target, plan: &Plan) -> Result<LoadReport, BenchError> {
    let transport = HeddleTransport::prepare(target, plan).await?;
    drive(&transport, plan).await
}

async fn drive<T: ChatTransport>(transport: &T, plan: &Plan) -> Result<LoadReport, BenchError> {
    Ok(load::run(transport, plan).await?)
}

fn raise_files(sessions: u64) -> Result<(), BenchError> {
    let needed = sessions + OTHER_FILES;
    let limit = raise_open_files(needed);
    if let Some(note) = limit.note() {
        eprintln!("{note}");
    }
    match limit.now {
        Some(now) if now < needed => Err(BenchError::Files {
            needed: sessions,
            limit: now,
        }),
        _ => Ok(()),
    }
}
