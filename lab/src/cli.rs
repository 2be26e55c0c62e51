//! The command line of `heddle-lab`, and what `heddle replay | bench | check` share with it.
//!
//! Each subcommand's options live beside its code; here they are only called and their results
//! printed. Invariant: results go to stdout, everything else to stderr; exit 0 only if all held.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bench::{self, BenchOptions, cluster::ClusterOptions, compare::CompareOptions};
use crate::faults::cluster::{Kind, RollingOptions};
use crate::faults::{self, FaultError, cycles::CycleOptions};
use crate::faults::{drain::DrainOptions, power::PowerOptions};
use crate::process::network;
use crate::profile::{self, ProfileOptions};
use crate::relay::{Mode, serve};
use crate::replay::{self, ReplayOptions};

/// Anything that ends a command.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Exit code where the machine does not allow what was asked for; what a skipped test says.
const IMPOSSIBLE: u8 = 77;

#[derive(Parser)]
#[command(name = "heddle-lab", about = "What measures Heddle and what breaks it")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve as a bare relay, to compare with
    Relay {
        /// What it does with a message
        #[arg(value_enum)]
        mode: RelayMode,
        /// Port on 127.0.0.1
        port: u16,
        /// Where a durable one keeps its log
        dir: PathBuf,
    },
    /// Measure one server
    Bench(BenchOptions),
    /// Replay a day of a channel and check what everybody got
    Replay(ReplayOptions),
    /// Kill the server at random instants and check what everybody got
    Kill(CycleOptions),
    /// Kill one node of Cassandra out of three
    CassandraNode(CycleOptions),
    /// Stop one node of Cassandra out of three for a while, then two
    CassandraDown(CycleOptions),
    /// Kill Redis
    Redis(CycleOptions),
    /// Let Redis forget everything
    RedisFlush(CycleOptions),
    /// Kill Redis, and start it again a minute later
    RedisDown(CycleOptions),
    /// Stop a chat node for three lease times, and let it go on
    Pause(CycleOptions),
    /// Kill everything at once, engines among it
    Everything(CycleOptions),
    /// Drop all live deliveries at the gateways for a minute
    DropDeliveries(CycleOptions),
    /// Send each message many times at once while owners are killed
    DuplicateSends(CycleOptions),
    /// Drop thousands of sessions at once
    Reconnect(CycleOptions),
    /// Drain and start again every process, one after the other
    Rolling(RollingOptions),
    /// Drain every process in turn under a paced load, and say how long sends are held up
    Drain(DrainOptions),
    /// Cut a chat node off from history, from gateways or from its peers, one way and both
    Partition(CycleOptions),
    /// Kill what pushes depend on, and let the provider fall into bad moods
    Push(CycleOptions),
    /// Cut the power of the server's disk at random instants and check what everybody got
    Power(PowerOptions),
    /// Fill the server's disk and make room again, at random instants, and check what everybody got
    Full(CycleOptions),
    /// Measure Heddle and the relays in turns, and write docs/performance.md
    Compare(CompareOptions),
    /// Measure the services as processes of their own on the node of Cassandra that TEST_CASSANDRA
    /// names, and write their section of docs/performance.md
    CompareCluster(Box<ClusterOptions>),
    /// Say where the server's CPU goes under a load, by hop; needs `perf`
    Profile(ProfileOptions),
}

#[derive(Clone, Copy, ValueEnum)]
enum RelayMode {
    /// Nothing is stored
    Bare,
    /// Appended and synced before the answer
    Durable,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before there is a second thread: a network is a process's own as long as it has one.
    if matches!(arguments.command, Command::Partition(_))
        && let Err(error) = network::enter()
    {
        eprintln!("error: no network of one's own: {error}; this takes root and iproute2");
        return ExitCode::from(IMPOSSIBLE);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(perform(arguments.command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            match error.downcast_ref() {
                Some(FaultError::Impossible(_)) => ExitCode::from(IMPOSSIBLE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn perform(command: Command) -> Result<bool, Failure> {
    match command {
        Command::Relay { mode, port, dir } => {
            let mode = match mode {
                RelayMode::Bare => Mode::Bare,
                RelayMode::Durable => Mode::Durable,
            };
            let listener = TcpListener::bind(("127.0.0.1", port)).await?;
            serve(listener, mode, &dir, CancellationToken::new()).await?;
            Ok(true)
        }
        Command::Bench(options) => bench(&options).await,
        Command::Replay(options) => replay(&options).await,
        Command::Kill(options) => Ok(faults::kill::run(&options).await?),
        Command::CassandraNode(options) => strike(Kind::CassandraNode, &options).await,
        Command::CassandraDown(options) => strike(Kind::CassandraDown, &options).await,
        Command::Redis(options) => strike(Kind::Redis, &options).await,
        Command::RedisFlush(options) => strike(Kind::RedisFlush, &options).await,
        Command::RedisDown(options) => strike(Kind::RedisDown, &options).await,
        Command::Pause(options) => strike(Kind::Pause, &options).await,
        Command::Everything(options) => strike(Kind::Everything, &options).await,
        Command::DropDeliveries(options) => strike(Kind::DropDeliveries, &options).await,
        Command::DuplicateSends(options) => strike(Kind::DuplicateSends, &options).await,
        Command::Reconnect(options) => strike(Kind::Reconnect, &options).await,
        Command::Partition(options) => strike(Kind::Partition, &options).await,
        Command::Rolling(options) => Ok(faults::cluster::roll(&options).await?),
        Command::Drain(options) => Ok(faults::drain::run(&options).await?),
        Command::Push(options) => Ok(faults::push::run(&options).await?),
        Command::Power(options) => Ok(faults::power::run(&options).await?),
        Command::Full(options) => Ok(faults::full::run(&options).await?),
        Command::Compare(options) => bench::compare::run(&options).await.map_err(Failure::from),
        Command::CompareCluster(options) => {
            bench::cluster::run(&options).await.map_err(Failure::from)
        }
        Command::Profile(options) => profile::run(&options).await.map_err(Failure::from),
    }
}

async fn strike(kind: Kind, options: &CycleOptions) -> Result<bool, Failure> {
    Ok(faults::cluster::run(kind, options).await?)
}

/// `bench`, for whoever has parsed its options.
pub async fn bench(options: &BenchOptions) -> Result<bool, Failure> {
    let report = bench::run(options).await?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(report.is_complete())
}

/// `replay`, for whoever has parsed its options.
pub async fn replay(options: &ReplayOptions) -> Result<bool, Failure> {
    let report = replay::run(options).await?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.to_text());
    }
    Ok(report.agrees)
}
