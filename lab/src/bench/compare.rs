//! Heddle and the bare relays, measured in turns in one run: `cargo xtask bench`.
//!
//! Each server is a process of its own, started afresh in each round, so that what the machine does
//! meanwhile meets all of them alike. Medians over the rounds; [`super::page`] writes them.
//!
//! Invariant: ratios compare figures of one run on one machine, and a load that lost anything has
//! no figure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{
    BenchError, GROUP_MEMBERS, Load, crowd, drive, drive_heddle, idle, page, plan, raise_files,
    resume, section, stalled,
};
use crate::load::{LoadReport, Plan};
use crate::measure::{DiskProbe, probe_fdatasync};
use crate::process::{Ready, Server, ServerSpec, free_port};
use crate::relay::client::RelayTransport;
use crate::target::transport::HeddleTransport;
use crate::target::{HeddleServer, ServerOptions, TargetError};

/// How long a relay may take to start.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Appends of which the disk's time is taken.
const DISK_ROUNDS: u32 = 200;
/// The loads that all three servers take.
const LOADS: [(Load, &str); 3] = [
    (Load::Direct, "direct"),
    (Load::Paced, "paced"),
    (Load::Group, "group"),
];

/// How to compare.
#[derive(Clone, Debug, Args)]
pub struct CompareOptions {
    /// Short loads and few sessions: shows that it works, measures little
    #[arg(long)]
    pub quick: bool,
    /// Rounds of which the median is taken
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Only the result, as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// The page to write
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
    /// The `heddle` program; by default the one beside this
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

/// How long and how many.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Size {
    /// Of each load, in seconds.
    pub load_s: u64,
    /// Idle sessions.
    pub sessions: u32,
    /// How long they are held, in seconds.
    pub idle_s: u64,
    /// Events that a device misses.
    pub events: u32,
    /// Groups that stop reading.
    pub groups: u32,
    /// For how long, in seconds.
    pub stalled_s: u64,
    /// Times that this is measured.
    pub stalled_rounds: u32,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Figures {
    /// Reports by server and load, one per round.
    pub loads: BTreeMap<(&'static str, &'static str), Vec<LoadReport>>,
    /// Heddle's idle sessions.
    pub idle: Option<idle::IdleReport>,
    /// Heddle's resumes, one per round.
    pub resumes: Vec<resume::ResumeReport>,
    /// What readers that stall cost others.
    pub stalled: Option<stalled::StalledReport>,
    /// The disk at the beginning.
    pub disk: Option<DiskProbe>,
    /// What went wrong: load and cause.
    pub failures: Vec<String>,
    /// Settings that were raised.
    pub raised: Vec<String>,
}

/// Measures, writes the page, prints the result. False when a load lost something or failed.
pub async fn run(options: &CompareOptions) -> Result<bool, BenchError> {
    let size = match options.quick {
        true => Size {
            load_s: 2,
            sessions: 500,
            idle_s: 5,
            events: 10_000,
            groups: 2,
            stalled_s: 3,
            stalled_rounds: 1,
        },
        false => Size {
            load_s: 10,
            sessions: 10_000,
            idle_s: 180,
            events: 10_000,
            groups: 10,
            stalled_s: 60,
            stalled_rounds: 5,
        },
    };
    raise_files(u64::from(size.sessions))?;
    let dir = tempfile::tempdir()?;
    let mut figures = Figures {
        disk: Some(probe_fdatasync(dir.path(), DISK_ROUNDS)?),
        ..Figures::default()
    };
    for round in 1..=options.rounds.max(1) {
        for server in ["bare", "durable", "heddle"] {
            say(options, format_args!("round {round}: {server}"));
            measure(server, size, options, dir.path(), &mut figures).await?;
        }
    }
    say(
        options,
        format_args!("idle: {} sessions for {} s", size.sessions, size.idle_s),
    );
    match measure_idle(size, options).await {
        Ok(report) => figures.idle = Some(report),
        Err(error) => figures.failures.push(format!("idle: {error}")),
    }
    say(
        options,
        format_args!(
            "stalled: {} groups, {} times {s} s read and {s} s not",
            size.groups,
            size.stalled_rounds,
            s = size.stalled_s
        ),
    );
    match measure_stalled(size, options).await {
        Ok(report) if report.is_complete() => figures.stalled = Some(report),
        Ok(report) => figures.failures.push(format!("stalled: {report:?}")),
        Err(error) => figures.failures.push(format!("stalled: {error}")),
    }
    let result = page::result(&figures);
    if let Some(path) = &options.page {
        let before = std::fs::read_to_string(path).unwrap_or_default();
        let page = page::render(&figures, size, options) + section::after_comparison(&before);
        std::fs::write(path, page)?;
        say(options, format_args!("wrote {}", path.display()));
    }
    figures
        .failures
        .iter()
        .for_each(|failure| eprintln!("FAILED: {failure}"));
    println!("{result}");
    Ok(figures.failures.is_empty())
}

fn say(options: &CompareOptions, what: std::fmt::Arguments) {
    if !options.json {
        eprintln!("{what}");
    }
}

async fn measure(
    name: &'static str,
    size: Size,
    options: &CompareOptions,
    dir: &Path,
    figures: &mut Figures,
) -> Result<(), BenchError> {
    if name != "heddle" {
        let relay = start_relay(name, dir).await?;
        let transport = RelayTransport::new(&relay.1).map_err(crate::load::LoadError::from)?;
        for (load, title) in LOADS {
            let plan = sized(load, size, relay.0.pid());
            keep(figures, name, title, drive(&transport, &plan).await);
        }
        return Ok(());
    }
    let mut server = start_heddle(options).await?;
    figures.raised = server.raised().to_vec();
    for (load, title) in LOADS {
        let plan = sized(load, size, server.pid());
        let target = server.target().clone();
        keep(figures, name, title, drive_heddle(&target, &plan).await);
    }
    let target = server.target().clone();
    match resume::run(&target, Some(&mut server), size.events).await {
        Ok(report) => figures.resumes.push(report),
        Err(error) => figures.failures.push(format!("heddle resume: {error}")),
    }
    Ok(())
}

/// A load that failed or lost something gives no figure, but the others go on.
fn keep(
    figures: &mut Figures,
    server: &'static str,
    load: &'static str,
    outcome: Result<LoadReport, BenchError>,
) {
    match outcome {
        Ok(report) if report.is_complete() => {
            figures
                .loads
                .entry((server, load))
                .or_default()
                .push(report);
        }
        Ok(report) => {
            let failure = format!("{server} {load}: {}", report.losses());
            figures.failures.push(failure);
        }
        Err(error) => figures.failures.push(format!("{server} {load}: {error}")),
    }
}

fn sized(load: Load, size: Size, pid: Option<u32>) -> Plan {
    let mut plan = plan(load, None, 16, None);
    plan.duration = Duration::from_secs(size.load_s);
    plan.server_pid = pid;
    plan
}

async fn measure_idle(
    size: Size,
    options: &CompareOptions,
) -> Result<idle::IdleReport, BenchError> {
    let server = start_heddle(options).await?;
    let transport = HeddleTransport::alone(server.target())?;
    let hold = Duration::from_secs(size.idle_s);
    idle::run(&transport, size.sessions, hold, server.pid()).await
}

async fn measure_stalled(
    size: Size,
    options: &CompareOptions,
) -> Result<stalled::StalledReport, BenchError> {
    let server = start_heddle(options).await?;
    let mut pairs = plan(Load::Paced, None, 0, None);
    pairs.duration = Duration::from_secs(size.stalled_s);
    let (groups, members) = (size.groups, GROUP_MEMBERS);
    let plan = stalled::StalledPlan {
        crowd: crowd::Size { groups, members },
        pairs,
        rounds: size.stalled_rounds,
        pid: server.pid(),
    };
    stalled::run(server.target(), &plan).await
}

async fn start_heddle(options: &CompareOptions) -> Result<HeddleServer, BenchError> {
    let server = ServerOptions::default().without_rates();
    Ok(HeddleServer::start(options.program.clone(), server).await?)
}

/// A relay in its mode, and where it is.
pub(super) async fn start_relay(mode: &str, dir: &Path) -> Result<(Server, String), BenchError> {
    let port = free_port()?;
    let data = tempfile::tempdir_in(dir)?.keep();
    let spec = ServerSpec {
        within: Vec::new(),
        program: std::env::current_exe()?,
        args: vec![
            "relay".into(),
            mode.into(),
            port.to_string(),
            data.display().to_string(),
        ],
        env: Vec::new(),
        log: data.join("relay.log"),
        ready: Ready::Port(SocketAddr::from(([127, 0, 0, 1], port))),
        ready_timeout: READY_TIMEOUT,
    };
    let server = Server::start(spec).await.map_err(TargetError::from)?;
    Ok((server, format!("http://127.0.0.1:{port}")))
}
