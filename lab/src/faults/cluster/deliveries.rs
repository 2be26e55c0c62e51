//! All live deliveries are dropped for a minute: devices read what they miss from the store.
//!
//! Gateways are told of a file while which is there they drop what shards deliver (a drill of their
//! own, `gateway.drop_deliveries_file`). Beside the workload one person writes to another, whose
//! device tells when each message came.
//!
//! Invariant: a drill in which nothing came late has dropped nothing, and fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use heddle_plan::text;
use heddle_sdk::{Client, ConversationId, Outgoing, Session, Update};
use tokio::time::{interval, timeout_at};

use super::super::FaultError;
use super::{CALM, Raw};
use crate::target::cluster::Cluster;
use crate::target::{TargetError, conversation};

/// How long deliveries are dropped.
const DROPPED: Duration = Duration::from_secs(60);
/// Between two messages.
const PACE: Duration = Duration::from_millis(250);
/// A heartbeat, and what reading takes.
const SEEN_WITHIN: Duration = Duration::from_millis(5_000 + 1_000);
/// What came sooner came live.
const LIVE_WITHIN: Duration = Duration::from_millis(400);

/// One place for all gateways of this process's cluster.
fn switch() -> PathBuf {
    std::env::temp_dir().join(format!("drop-deliveries-{}", std::process::id()))
}

/// What gateways are told.
pub(super) fn settings() -> Vec<(&'static str, String)> {
    let switch = switch().display().to_string();
    let setting = text("gateway.drop_deliveries_file", &switch);
    vec![("gateway/", setting)]
}

/// Drops for a minute.
pub(super) async fn strike(cluster: &Cluster, name: &str, raw: &mut Raw) -> Result<(), FaultError> {
    let mut pair = Pair::begin(cluster, name).await?;
    let io = |error| TargetError::Io {
        what: "the switch that drops deliveries",
        error,
    };
    std::fs::write(switch(), b"").map_err(io)?;
    tokio::time::sleep(CALM).await;
    let told = pair.write_for(DROPPED).await;
    std::fs::remove_file(switch()).map_err(io)?;
    let seen = told?;
    let late = seen.iter().filter(|took| **took > LIVE_WITHIN).count();
    if late * 2 < seen.len() {
        let text = format!(
            "{late} of {} messages came late: was anything dropped?",
            seen.len()
        );
        return Err(FaultError::Blunt(text));
    }
    for took in seen {
        raw.within(Some(took).filter(|took| *took <= SEEN_WITHIN), |raw| {
            &mut raw.seen_max_ms
        });
    }
    Ok(())
}

/// One writes, the other one's device tells when it came.
struct Pair {
    writer: Client,
    talk: ConversationId,
    reader: Session,
}

impl Pair {
    async fn begin(cluster: &Cluster, name: &str) -> Result<Self, TargetError> {
        let refused = || TargetError::refused("the pair that writes while deliveries are dropped");
        let (one, other) = (format!("{name}-writes"), format!("{name}-reads"));
        let target = cluster.target();
        let reader = target.client(&other, "phone")?.session().open().await;
        let reader = reader.map_err(refused())?;
        reader.handle().connected().await.map_err(refused())?;
        let writer = target.client(&one, "phone")?;
        let made = writer.create_direct(&other).await.map_err(refused())?;
        let talk = conversation::id_of(&made)?;
        Ok(Self {
            writer,
            talk,
            reader,
        })
    }

    /// Writes for so long; how long each message took from its OK to the other's device.
    async fn write_for(&mut self, time: Duration) -> Result<Vec<Duration>, TargetError> {
        let (mut stored, mut seen) = (BTreeMap::new(), Vec::new());
        let mut came = BTreeMap::new();
        let mut paces = interval(PACE);
        let end = Instant::now() + time;
        while Instant::now() < end {
            tokio::select! {
                update = self.reader.next() => note(&mut came, update),
                _ = paces.tick() => {
                    let sent = self.writer.send(Outgoing {
                        conversation_id: self.talk,
                        client_message_id: self.writer.mint(),
                        message: heddle_sdk::text("is this live?"),
                    });
                    let sent = sent.await;
                    let sent = sent.map_err(TargetError::refused("a message of the pair"))?;
                    stored.insert(sent.seq, Instant::now());
                }
            }
        }
        let patience = tokio::time::Instant::now() + SEEN_WITHIN;
        let all_came =
            |came: &BTreeMap<u64, Instant>| stored.keys().all(|it| came.contains_key(it));
        while !all_came(&came) {
            match timeout_at(patience, self.reader.next()).await {
                Ok(update) => note(&mut came, update),
                Err(_) => break,
            }
        }
        for (seq, told) in &stored {
            let came = came
                .get(seq)
                .map(|came| came.saturating_duration_since(*told));
            seen.push(came.unwrap_or(Duration::MAX));
        }
        Ok(seen)
    }
}

fn note(came: &mut BTreeMap<u64, Instant>, update: Option<Update>) {
    if let Some(Update::Event(delivery)) = update
        && let Some(event) = &delivery.event
    {
        came.insert(event.seq, Instant::now());
    }
}
