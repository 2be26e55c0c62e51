//! The services as processes of their own on Cassandra and Redis, measured:
//! `cargo xtask bench --shape cluster`.
//!
//! One cluster for all rounds, since Cassandra's JVM takes long to warm up. [`watch`] looks at its
//! processes around each load, [`floor`] says what the transport alone costs, [`figures`] adds up,
//! [`page`] writes the section of docs/performance.md, [`json`] the line for machines. The node of
//! Cassandra is the one that `TEST_CASSANDRA` names.
//!
//! Invariant: a load that lost anything has no figure.

mod figures;
mod floor;
mod json;
mod options;
mod page;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heddle_plan::Size;
use tokio_util::sync::CancellationToken;

use self::figures::{CROWD, Figures, Round, Step};
pub use self::options::ClusterOptions;
use self::page::Setting;
use self::watch::{CASSANDRA, CLIENTS, ClusterWatch, Costs, REDIS, SERVICES};
use super::{BenchError, raise_files, section};
use crate::load::{Plan, run_watched};
use crate::measure::{DiskProbe, probe_fdatasync, watch_fdatasync};
use crate::process::free_port;
use crate::target::cluster::Cluster;
use crate::target::engines;
use crate::target::transport::HeddleTransport;

/// In pairs, where nothing else is said.
const USERS: u32 = 200;
/// Appends of which the disk's time is taken before the loads.
const DISK_ROUNDS: u32 = 200;
/// Between two appends beside a load: a few of the hundred syncs a second that Cassandra makes.
const DISK_PAUSE: Duration = Duration::from_millis(50);
/// No bound on how often users and devices call.
const RATES: [&str; 2] = [
    "gateway.rates.user_per_second=0",
    "gateway.rates.device_per_second=0",
];
/// Services whose metrics are read.
const COUNTING: [&str; 2] = ["chat-svc", "history-svc"];

/// Measures, writes the section, prints the result. False when a load lost something or failed.
pub async fn run(options: &ClusterOptions) -> Result<bool, BenchError> {
    raise_files(u64::from(CROWD))?;
    let (cluster, watch) = start(options).await?;
    if cluster.cassandra().is_empty() {
        let text = format!("{} names no node of Cassandra", engines::CASSANDRA);
        return Err(BenchError::Session(text));
    }
    options.say(format_args!(
        "{} processes, {}",
        cluster.len(),
        cluster.stores()
    ));
    let temporary = tempfile::tempdir()?;
    let disk = options.disk.as_deref().unwrap_or(temporary.path());
    let mut figures = Figures {
        disk: Some(probe_fdatasync(disk, DISK_ROUNDS)?),
        window_ms: options.window_ms.into(),
        ..Figures::default()
    };
    let transport = HeddleTransport::prepare(cluster.target(), &Plan::pairs(CROWD, 1)).await?;
    let mut warm_up = Plan::pairs(USERS, 4);
    warm_up.duration = options.warm_up();
    options.say(format_args!("warming up for {:?}", warm_up.duration));
    run_watched(&transport, &warm_up, &watch).await?;
    for round in 1..=options.rounds() {
        for step in options.steps() {
            options.say(format_args!("round {round}: {step}"));
            let plan = plan(step, options);
            let measured = measure(&transport, &plan, &watch, beside(step, disk)).await;
            keep(&mut figures, step, measured);
        }
    }
    options.say(format_args!("the bare relay at the same rates"));
    let load = Duration::from_secs(options.load_s());
    floor::measure(&mut figures, load, temporary.path()).await?;
    if let Some(path) = &options.page {
        let before = std::fs::read_to_string(path).unwrap_or_default();
        let section = page::render(&figures, &setting(options, &cluster));
        std::fs::write(path, section::with_cluster(&before, &section))?;
        options.say(format_args!("wrote {}", path.display()));
    }
    for failure in &figures.failures {
        eprintln!("FAILED: {failure}");
    }
    println!("{}", json::result(&figures));
    Ok(figures.failures.is_empty())
}

/// A cluster whose counting services show their metrics, and what looks at it.
async fn start(options: &ClusterOptions) -> Result<(Cluster, ClusterWatch), BenchError> {
    let programs = match &options.programs {
        Some(programs) => programs.clone(),
        None => {
            let this = std::env::current_exe()?;
            this.parent().unwrap_or(Path::new(".")).to_owned()
        }
    };
    let counted = [options.chat, options.history];
    let mut places: Vec<(String, SocketAddr)> = Vec::new();
    for (service, count) in COUNTING.into_iter().zip(counted) {
        for number in 1..=count {
            let place = heddle_plan::loopback(free_port()?);
            places.push((format!("{service}/{number}"), place));
        }
    }
    let metrics = places.iter().map(|(name, place)| {
        let setting = heddle_plan::text("process.metrics_address", &place.to_string());
        (&name[..], setting)
    });
    let rates = RATES.map(|setting| ("gateway", setting.to_owned()));
    let workers = SERVICES.map(|service| (service, worker_threads(options.size())));
    let settings: Vec<_> = metrics.chain(rates).chain(workers).collect();
    let cluster = Cluster::start_with(&programs, options.size(), &settings, None).await?;
    let started = cluster.names("");
    places.retain(|(name, _)| started.contains(name));
    let watch = ClusterWatch {
        processes: processes(&cluster, options.cassandra_pid),
        metrics: places.into_iter().map(|(_, place)| place).collect(),
    };
    Ok((cluster, watch))
}

/// No more threads in all than cores, if that may be: they would only wake each other.
fn worker_threads(size: Size) -> String {
    let Size {
        history,
        presence,
        notify,
        chat,
        gateway,
    } = size;
    let processes = history + presence + notify + chat + gateway;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("process.worker_threads={}", (cores / processes).max(1))
}

/// Everything that uses CPU for messages; a node that is not ours is named by its process.
fn processes(cluster: &Cluster, cassandra: Option<u32>) -> Vec<(&'static str, u32)> {
    let mut processes = vec![(CLIENTS, std::process::id())];
    processes.extend(cassandra.map(|pid| (CASSANDRA, pid)));
    for who in SERVICES.into_iter().chain([CASSANDRA, REDIS]) {
        let names = cluster.names(who).into_iter();
        let pids = names.filter_map(|name| cluster.process(&name)?.pid());
        processes.extend(pids.map(|pid| (who, pid)));
    }
    processes
}

fn plan(step: Step, options: &ClusterOptions) -> Plan {
    let mut plan = match step {
        Step::Crowd(_) => Plan::pairs(users(step), 1),
        Step::Direct(in_flight) => Plan::pairs(users(step), in_flight),
        Step::Paced(rate) => Plan::paced_pairs(users(step), rate),
    };
    plan.duration = Duration::from_secs(options.load_s());
    plan
}

fn users(step: Step) -> u32 {
    match step {
        Step::Crowd(users) => users,
        Step::Direct(_) | Step::Paced(_) => USERS,
    }
}

/// Where the disk is looked at meanwhile: beside the load whose latencies are held to its syncs.
fn beside(step: Step, disk: &Path) -> Option<PathBuf> {
    matches!(step, Step::Paced(_)).then(|| disk.to_owned())
}

async fn measure(
    transport: &HeddleTransport,
    plan: &Plan,
    watch: &ClusterWatch,
    disk: Option<PathBuf>,
) -> Result<Round, BenchError> {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let watching = disk.map(|dir| {
        tokio::task::spawn_blocking(move || watch_fdatasync(&dir, DISK_PAUSE, &stopped))
    });
    let done = run_watched(transport, plan, watch).await;
    stop.cancel();
    let disk: Option<DiskProbe> = match watching {
        Some(watching) => Some(watching.await.map_err(std::io::Error::other)??),
        None => None,
    };
    let (report, (before, after)) = done?;
    let costs = Costs::between(&before, &after, report.stored_in_window);
    Ok(Round {
        costs: costs.unwrap_or_default(),
        report,
        disk,
    })
}

/// A load that failed or lost something gives no figure, but the others go on.
fn keep(figures: &mut Figures, step: Step, measured: Result<Round, BenchError>) {
    match measured {
        Ok(round) if round.report.is_complete() => {
            figures.rounds.entry(step).or_default().push(round);
        }
        Ok(round) => {
            let failure = format!("{step}: {}", round.report.losses());
            figures.failures.push(failure);
        }
        Err(error) => figures.failures.push(format!("{step}: {error}")),
    }
}

fn setting(options: &ClusterOptions, cluster: &Cluster) -> Setting {
    let counts = SERVICES.map(|service| {
        let count = cluster.names(service).len();
        format!("{count} {service}")
    });
    Setting {
        quick: options.quick,
        processes: counts.join(", "),
        presence: if cluster.redis().is_some() {
            "Redis"
        } else {
            "memory"
        },
        rounds: options.rounds(),
        load_s: options.load_s(),
        raised: RATES
            .map(str::to_owned)
            .into_iter()
            .chain([worker_threads(options.size())])
            .collect(),
    }
}
