//! What pushes cost: intents settled a second and CPU a push, against a provider on loopback.
//!
//! Some write to people who are all away. Grace time and window are zero, so that each message is a
//! push to each of them; the provider takes everything at once. Invariant: every push that is due
//! has arrived, or the bench says how many have not.

use std::time::Duration;

use heddle_sdk::{Client, ConversationId, text};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::BenchError;
use crate::measure::ProcessStat;
use crate::provider::{Receiver, register_away};
use crate::target::{HeddleServer, ServerOptions, Target, TargetError};

/// Members of a group, who writes among them.
const GROUP_MEMBERS: usize = 100;
/// Pushes that are measured, at least.
const PUSHES_MIN: usize = 2_000;
/// People who are made known at once.
const AT_ONCE: usize = 32;
/// The last push is waited for so long.
const ARRIVES_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);

/// What pushes cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PushReport {
    /// People who are away.
    pub recipients: usize,
    /// Pushes that were due.
    pub due: usize,
    /// Pushes that arrived.
    pub arrived: usize,
    /// Of those a second, from the first message to the last push.
    pub pushes_per_second: f64,
    /// CPU of the server for each, in microseconds: the message, its mailboxes and the push.
    pub cpu_us_per_push: f64,
    /// The server's memory at the end, in MiB.
    pub rss_mib: f64,
}

/// A group of people who are away, and one who writes.
struct Group {
    writer: Client,
    id: ConversationId,
    away: usize,
}

/// Measures with so many people who are away, against a server of its own.
pub async fn run(recipients: usize) -> Result<PushReport, BenchError> {
    let receiver = Receiver::start().await?;
    let settings = [
        format!("notify.endpoints_allowed=[\"{}\"]", receiver.address),
        "chat.push_grace_ms=0".to_owned(),
        "chat.push_window_ms=0".to_owned(),
    ];
    let options = ServerOptions {
        arguments: settings.into(),
        ..ServerOptions::default()
    };
    let server = HeddleServer::start(None, options.without_rates()).await?;
    let webhook = format!("http://{}/hook", receiver.address);
    let groups = groups(server.target(), recipients, &webhook).await?;
    let rounds = PUSHES_MIN.div_ceil(recipients).max(1);
    let due = recipients * rounds;
    let stat = || server.pid().map(ProcessStat::of).transpose();
    let (before, begun) = (stat()?.unwrap_or_default(), Instant::now());
    for round in 1..=rounds {
        let mut writing = JoinSet::new();
        for group in &groups {
            let (writer, id) = (group.writer.clone(), group.id);
            writing.spawn(async move {
                let outgoing = heddle_sdk::Outgoing {
                    conversation_id: id,
                    client_message_id: writer.mint(),
                    message: text("are you there?".to_owned()),
                };
                writer.send(outgoing).await
            });
        }
        while let Some(sent) = writing.join_next().await {
            let refused = TargetError::refused("a message");
            sent.map_err(|error| BenchError::Session(error.to_string()))?
                .map_err(refused)?;
        }
        // Each is its own push only if the one before has gone.
        arrives(&receiver, recipients * round).await;
    }
    let took = begun.elapsed().as_secs_f64();
    let after = stat()?.unwrap_or_default();
    let arrived = receiver.count();
    debug_assert_eq!(
        groups.iter().map(|group| group.away).sum::<usize>(),
        recipients
    );
    Ok(PushReport {
        recipients,
        due,
        arrived,
        pushes_per_second: arrived as f64 / took,
        cpu_us_per_push: after.cpu_us_per(&before, arrived as u64),
        rss_mib: after.rss_bytes as f64 / f64::from(1 << 20),
    })
}

async fn arrives(receiver: &Receiver, count: usize) {
    let begun = Instant::now();
    while receiver.count() < count && begun.elapsed() < ARRIVES_WITHIN {
        sleep(POLL).await;
    }
}

async fn groups(
    target: &Target,
    recipients: usize,
    webhook: &str,
) -> Result<Vec<Group>, BenchError> {
    let names: Vec<_> = (0..recipients)
        .map(|number| format!("away-{number}"))
        .collect();
    let mut known = JoinSet::new();
    for name in &names {
        if known.len() >= AT_ONCE {
            joined(&mut known).await?;
        }
        let (phone, webhook) = (target.client(name, "phone")?, webhook.to_owned());
        known.spawn(async move { register_away(&phone, &webhook).await });
    }
    while !known.is_empty() {
        joined(&mut known).await?;
    }
    let mut groups = Vec::new();
    for (number, away) in names.chunks(GROUP_MEMBERS - 1).enumerate() {
        let writer = target.client(&format!("writes-{number}"), "phone")?;
        let made = writer.create_group("away", away.to_vec()).await;
        let made = made.map_err(TargetError::refused("a group"))?;
        let id = ConversationId::from_wire(&made.conversation_id)
            .ok_or_else(|| BenchError::Session("a group has no id".to_owned()))?;
        groups.push(Group {
            writer,
            id,
            away: away.len(),
        });
    }
    Ok(groups)
}

async fn joined(known: &mut JoinSet<Result<(), TargetError>>) -> Result<(), BenchError> {
    match known.join_next().await {
        Some(Ok(done)) => Ok(done?),
        Some(Err(error)) => Err(BenchError::Session(error.to_string())),
        None => Ok(()),
    }
}
