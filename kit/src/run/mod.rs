//! Run: the life of a process, from its flags to its exit code.
//!
//! Logs, config, bind, serve, drain on SIGINT or SIGTERM, bounded grace. A service's `main` is one
//! call of [`run`]; `heddle serve`, which has flags of its own, calls [`block_on`].
//!
//! Invariant: once started, a process ends by draining: on a signal, on the death of a task, or
//! when a service asks for it. A second signal ends it at once.

mod flags;
mod signals;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::config::{self, Config};
use crate::link::UrlsError;
use crate::tasks::Tasks;
use crate::telemetry::{Telemetry, TelemetryOptions, serve_metrics};
use crate::tls::TlsError;
use flags::Flags;
use signals::Signals;

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
        pub grace_ms: u64 = 12_000,
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

    /// What is wrong with settings that could be read, by the field's name. Called for
    /// `--check-config` and before a start; reads no file and asks no other service.
    fn check(&self) -> Result<(), StartError> {
        Ok(())
    }
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

/// Something else than serving that a service's binary can do.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// What is written after the binary's name.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
}

/// Runs the service `name` to its end. `start` binds and spawns, and returns when it serves.
pub fn run<C, F, S>(name: &'static str, start: F) -> ExitCode
where
    C: ProcessConfig,
    F: FnOnce(Context<C>) -> S,
    S: Future<Output = Result<(), StartError>>,
{
    run_verbs(name, &[], |_, context| start(context))
}

/// The same for a binary with verbs; `start` is given the one that was asked for, if any.
pub fn run_verbs<C, F, S>(name: &'static str, verbs: &'static [Verb], start: F) -> ExitCode
where
    C: ProcessConfig,
    F: FnOnce(Option<&'static str>, Context<C>) -> S,
    S: Future<Output = Result<(), StartError>>,
{
    let (flags, verb) = Flags::of_command_line(name, verbs);
    if flags.sample_config {
        print!("{}", config::sample::<C>());
        return ExitCode::from(EXIT_OK);
    }
    let config = match settings::<C>(&flags) {
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
    block_on(name, &process, config, |context| start(verb, context))
}

/// The settings, read and checked.
fn settings<C: ProcessConfig>(flags: &Flags) -> Result<C, StartError> {
    let config = config::load::<C>(flags.file(), flags.settings())?;
    config.check()?;
    Ok(config)
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
            return exit_code(&error);
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

/// The exit code of a start that failed. Certificates are settings too, but a check reads no file.
fn exit_code(error: &StartError) -> u8 {
    match error.is::<TlsError>() || error.is::<UrlsError>() {
        true => EXIT_CONFIG,
        false => EXIT_FAILED,
    }
}

#[cfg(test)]
mod tests;
