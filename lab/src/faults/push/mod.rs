//! Pushes under faults: `cargo xtask faults push`.
//!
//! [`people`] write to some who are away; the provider ([`crate::provider`]) falls into bad moods,
//! notify-svc and the mailboxes' owners are killed; once all is well again [`mod@judge`] looks at
//! every push that arrived.
//!
//! Invariant: the provider and all processes are well before a cycle is judged, and nothing is
//! judged before it had time to become right.

mod judge;
mod people;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use heddle_plan::Size;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use self::judge::{Verdicts, judge};
use self::people::People;
use super::FaultError;
use super::cycles::{CycleOptions, Shape};
use crate::progress::Progress;
use crate::provider::{Mood, Receiver};
use crate::target::cluster::{Cluster, programs};
use crate::target::{HeddleServer, ServerOptions, Target, TargetError};

/// How long people act before a strike, at most, and after it.
const BEFORE: Duration = Duration::from_millis(1_500);
const AFTER: Duration = Duration::from_millis(1_000);
/// How long the provider stays in a bad mood.
const MOOD: Duration = Duration::from_secs(3);
/// All is right again so long after the last message, at the latest.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// And stays so.
const STAYS: Duration = Duration::from_millis(1_500);
const POLL: Duration = Duration::from_millis(100);

/// Settings of the service that begins so; a strike is to last many tries, not to end in dead
/// letters.
fn settings(receiver: &Receiver, certificate: &Path) -> Vec<(&'static str, String)> {
    let allowed = format!("notify.endpoints_allowed=[\"{}\"]", receiver.address);
    let trusted = format!("notify.ca_file={:?}", certificate.display().to_string());
    vec![
        ("notify-svc", trusted),
        ("chat-svc", "chat.push_grace_ms=300".into()),
        ("chat-svc", "chat.push_window_ms=500".into()),
        ("notify-svc", allowed),
        ("notify-svc", "notify.webhook.backoff_base_ms=100".into()),
        ("notify-svc", "notify.webhook.backoff_max_ms=1000".into()),
        ("notify-svc", "notify.webhook.send_timeout_ms=4000".into()),
        ("notify-svc", "notify.webhook.tries_max=1000".into()),
    ]
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    cycles: u32,
    struck: BTreeMap<String, u32>,
    /// Pushes that arrived, and of them repetitions.
    pushes: u64,
    repeated: u64,
    /// The longest time until all was right after people had stopped, in milliseconds.
    settled_max_ms: u64,
    verdicts: Verdicts,
}

/// What is struck.
enum Subject {
    One(Box<HeddleServer>),
    Many(Box<Cluster>),
}

impl Subject {
    async fn start(
        options: &CycleOptions,
        receiver: &Receiver,
        certificate: &Path,
    ) -> Result<Self, FaultError> {
        let settings = settings(receiver, certificate);
        if options.shape == Shape::Cluster {
            let programs = programs(options.program.as_deref())?;
            let cluster = Cluster::start_with(&programs, Size::default(), &settings, None).await?;
            eprintln!("{} processes, {}", cluster.len(), cluster.stores());
            return Ok(Self::Many(Box::new(cluster)));
        }
        let arguments = settings.into_iter().map(|(_, setting)| setting);
        let server = ServerOptions {
            arguments: arguments.collect(),
            ..ServerOptions::default()
        };
        let server = HeddleServer::start(options.program.clone(), server).await?;
        Ok(Self::One(Box::new(server)))
    }

    fn target(&self) -> &Target {
        match self {
            Self::One(server) => server.target(),
            Self::Many(cluster) => cluster.target(),
        }
    }

    /// Kills one that pushes depend on; its name.
    fn kill(&mut self, chance: &mut StdRng) -> String {
        match self {
            Self::One(server) => {
                server.kill();
                "kill".to_owned()
            }
            Self::Many(cluster) => {
                let prefix = ["notify-svc/", "chat-svc/"].choose(chance).unwrap_or(&"");
                let names = cluster.names(prefix);
                let name = names.choose(chance).cloned().unwrap_or_default();
                cluster.kill_all(&name);
                format!("kill {}", name.split('/').next().unwrap_or_default())
            }
        }
    }

    async fn restart(&mut self) -> Result<(), TargetError> {
        match self {
            Self::One(server) => server.restart().await,
            Self::Many(cluster) => cluster.restart().await,
        }
    }
}

/// Runs all cycles and prints the result; false when something was broken.
pub async fn run(options: &CycleOptions) -> Result<bool, FaultError> {
    let io = |what| move |error| TargetError::Io { what, error };
    let receiver = Receiver::start_tls().await.map_err(io("the provider"))?;
    let dir = tempfile::tempdir().map_err(io("a directory for the provider's certificate"))?;
    let certificate = dir.path().join("provider.pem");
    std::fs::write(&certificate, &receiver.certificate).map_err(io("its certificate"))?;
    let mut subject = Subject::start(options, &receiver, &certificate).await?;
    let mut chance = StdRng::seed_from_u64(options.seed);
    let webhook = format!("https://{}/hook", receiver.address);
    let people = People::begin(subject.target(), "push", &webhook).await?;
    let mut report = Report::default();
    let progress = Progress::new("push", u64::from(options.cycles), options.json);
    for cycle in 1..=options.cycles {
        let acting = people.act(BEFORE + AFTER, chance.random());
        let striking = strike(&mut subject, &receiver, &mut chance);
        let ((), struck) = tokio::join!(acting, striking);
        let struck = struck?;
        let (verdicts, took) = settled(&people, &receiver).await;
        report.cycles += 1;
        *report.struck.entry(struck.clone()).or_default() += 1;
        report.settled_max_ms = report.settled_max_ms.max(took.as_millis() as u64);
        report.verdicts.add(&verdicts);
        progress.add(1);
        if !options.json {
            let seconds = took.as_secs_f64();
            eprintln!("cycle {cycle}: {struck}, right after {seconds:.1} s, {verdicts:?}");
        }
        if !verdicts.is_clean() {
            // What is wrong now would be wrong in every cycle from here on.
            break;
        }
    }
    progress.finish();
    let arrived = receiver.arrived();
    let distinct: std::collections::BTreeSet<_> = arrived
        .iter()
        .map(|it| (&it.push_id, &it.user_id))
        .collect();
    report.pushes = arrived.len() as u64;
    report.repeated = report.pushes - distinct.len() as u64;
    println!("{}", serde_json::to_string(&report).unwrap_or_default());
    Ok(report.verdicts.is_clean())
}

/// Strikes at a random instant; all is well again when it returns.
async fn strike(
    subject: &mut Subject,
    receiver: &Receiver,
    chance: &mut StdRng,
) -> Result<String, FaultError> {
    sleep(BEFORE.mul_f64(chance.random_range(0.2..1.0))).await;
    if chance.random_bool(0.5) {
        let struck = subject.kill(chance);
        subject.restart().await?;
        return Ok(struck);
    }
    let mood = Mood::BAD.choose(chance).copied().unwrap_or_default();
    receiver.set(mood);
    sleep(MOOD).await;
    receiver.set(Mood::Well);
    Ok(format!("{mood:?}").to_lowercase())
}

/// Waits until all is right, and looks once more whether it stays so; how long that took.
async fn settled(people: &People, receiver: &Receiver) -> (Verdicts, Duration) {
    let begun = Instant::now();
    let ends = people.ends();
    while begun.elapsed() < SETTLED_WITHIN {
        if judge(&ends, &receiver.arrived()).is_clean() {
            break;
        }
        sleep(POLL).await;
    }
    let took = begun.elapsed();
    sleep(STAYS).await;
    (judge(&ends, &receiver.arrived()), took)
}
