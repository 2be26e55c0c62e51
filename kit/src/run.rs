//! Run: the life of a process, from its flags to its exit code.
//!
//! Logs, config, bind, serve, drain on SIGINT or SIGTERM, bounded grace. A service's `main` is one
//! call of [`run`]; `heddle serve`, which has flags of its own, calls [`block_on`].
//!
//! Invariant: once started, a process ends by draining: on a signal, on the death of a task, or
//! when a service asks for it. A second signal ends it at once.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Config};
use crate::tasks::Tasks;
use crate::telemetry::{Telemetry, TelemetryOptions, serve_metrics};

/// What a service's start may fail with.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// The process did what it was asked to.
const EXIT_OK: u8 = 0;
/// It could not start, or a task of it died.
const EXIT_FAILED: u8 = 1;
/// Its settings are wrong.
const EXIT_CONFIG: u8 = 2;
/// A second signal cut its drain short.
const EXIT_INTERRUPTED: u8 = 130;

crate::config! {
    /// The process around a service.
    pub struct ProcessOptions {
        /// Where metrics are served for Prometheus, like `127.0.0.1:9464`; none means nowhere.
        pub metrics_address: Option<std::net::SocketAddr> = None,
        /// How long a drain may take before what is left is cut off (milliseconds).
        pub grace_ms: u64 = 5_000,
        /// Threads that run tasks; 0 means as many as there are cores.
        pub worker_threads: usize = 0,
    sections
        /// Logs, traces and metrics.
        pub telemetry: TelemetryOptions,
    }
}

/// Settings of a whole process: those of its service, and a section for the process.
pub trait ProcessConfig: Config {
    /// The section for the process.
    fn process(&self) -> &ProcessOptions;
}

/// What a service gets to start with.
pub struct Context<C> {
    /// Its settings.
    pub config: C,
    /// The root of the process's tasks; each service takes a child.
    pub tasks: Tasks,
    /// For a service that shows metrics in its own way.
    pub telemetry: Telemetry,
}

/// The flags that every service's binary has.
#[derive(Debug, Parser)]
struct Flags {
    /// Settings to start from, a TOML file.
    #[arg(long, value_name = "FILE", env = "HEDDLE_CONFIG")]
    config: Option<PathBuf>,
    /// One setting, like serve.streams_max=100; may be given many times.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = parse_set)]
    set: Vec<(String, toml::Value)>,
    /// Prints a settings file with all defaults, and ends.
    #[arg(long)]
    sample_config: bool,
    /// Checks the settings, and ends.
    #[arg(long)]
    check_config: bool,
}

/// Runs the service `name` to its end. `start` binds and spawns, and returns when it serves.
pub fn run<C, F, S>(name: &'static str, start: F) -> ExitCode
where
    C: ProcessConfig,
    F: FnOnce(Context<C>) -> S,
    S: Future<Output = Result<(), StartError>>,
{
    use clap::{CommandFactory, FromArgMatches};
    let matches = Flags::command()
        .name(name)
        .version(env!("CARGO_PKG_VERSION"))
        .get_matches();
    let flags = Flags::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if flags.sample_config {
        print!("{}", config::sample::<C>());
        return ExitCode::from(EXIT_OK);
    }
    let config = match config::load::<C>(flags.config.as_deref(), overlay(flags.set)) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{name}: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if flags.check_config {
        return ExitCode::from(EXIT_OK);
    }
    let process = config.process().clone();
    block_on(name, &process, config, start)
}

/// Runs a process whose settings are known already: runtime, logs, start, drain.
pub fn block_on<C, F, S>(
    name: &'static str,
    process: &ProcessOptions,
    config: C,
    start: F,
) -> ExitCode
where
    F: FnOnce(Context<C>) -> S,
    S: Future<Output = Result<(), StartError>>,
{
    crate::tls::install_crypto_provider();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if process.worker_threads > 0 {
        builder.worker_threads(process.worker_threads);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: cannot start threads: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let code = runtime.block_on(live(name, process, config, start));
    // Everything has drained or been given up; blocking threads are not waited for.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn live<C, F, S>(name: &'static str, process: &ProcessOptions, config: C, start: F) -> u8
where
    F: FnOnce(Context<C>) -> S,
    S: Future<Output = Result<(), StartError>>,
{
    let begun = async {
        let signals = Signals::listen()?;
        let telemetry = Telemetry::start(name, &process.telemetry)?;
        Ok::<_, StartError>((signals, telemetry))
    };
    let (mut signals, telemetry) = match begun.await {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("{name}: {error}");
            return EXIT_FAILED;
        }
    };
    let tasks = Tasks::new(name);
    let context = Context {
        config,
        tasks: tasks.clone(),
        telemetry: telemetry.clone(),
    };
    let mut code = serve_until_end(name, process, context, start, &mut signals).await;
    let grace = Duration::from_millis(process.grace_ms);
    tokio::select! {
        aborted = tasks.drain(grace) => tracing::info!(service = name, aborted, "drained"),
        signal = signals.next() => {
            tracing::warn!(service = name, signal, "ending at once");
            code = EXIT_INTERRUPTED;
        }
    }
    telemetry.shut_down().await;
    code
}

/// Starts the service and waits for the reason to drain. Returns the exit code.
async fn serve_until_end<C, F, S>(
    name: &'static str,
    process: &ProcessOptions,
    context: Context<C>,
    start: F,
    signals: &mut Signals,
) -> u8
where
    F: FnOnce(Context<C>) -> S,
    S: Future<Output = Result<(), StartError>>,
{
    let tasks = context.tasks.clone();
    let telemetry = context.telemetry.clone();
    let starting = async {
        if let Some(address) = process.metrics_address {
            let listener = TcpListener::bind(address).await?;
            let address = serve_metrics(listener, telemetry, &tasks)?;
            tracing::info!(service = name, %address, "serving metrics");
        }
        start(context).await
    };
    tokio::select! {
        started = starting => if let Err(error) = started {
            tracing::error!(service = name, %error, "cannot start");
            return EXIT_FAILED;
        },
        signal = signals.next() => {
            tracing::info!(service = name, signal, "stopped while starting");
            return EXIT_OK;
        }
    }
    tracing::info!(service = name, "started");
    tokio::select! {
        signal = signals.next() => tracing::info!(service = name, signal, "draining"),
        () = tasks.process_ending().cancelled() => tracing::info!(service = name, "draining"),
    }
    if tasks.failure().is_some() {
        EXIT_FAILED
    } else {
        EXIT_OK
    }
}

/// The signals that end a process.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            interrupt,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Cancel-safe.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Reads `field=value`; a value that is not TOML is text.
fn parse_set(text: &str) -> Result<(String, toml::Value), String> {
    let (field, value) = text
        .split_once('=')
        .ok_or("write it as section.field=value")?;
    let parsed = format!("value = {value}").parse::<toml::Table>().ok();
    let parsed = parsed.and_then(|mut table| table.remove("value"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    Ok((field.trim().to_owned(), value))
}

/// The `--set` flags as one table in the shape of the settings.
fn overlay(set: Vec<(String, toml::Value)>) -> toml::Table {
    let mut root = toml::Table::new();
    for (field, value) in set {
        let mut sections = field.split('.').collect::<Vec<_>>();
        let Some(last) = sections.pop() else { continue };
        let mut table = &mut root;
        for section in sections {
            let place = table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into());
            if !place.is_table() {
                *place = toml::Table::new().into();
            }
            let toml::Value::Table(within) = place else {
                unreachable!("made a table above")
            };
            table = within;
        }
        table.insert(last.to_owned(), value);
    }
    root
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
