//! People of the push suite: some write, the others are away; now and then one reads on a laptop.
//!
//! Invariant: whatever is asked is repeated with the same id until it is answered, so that how each
//! user stands in the end is known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heddle_sdk::{Client, ConversationId, Outgoing, text};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::judge::End;
use crate::provider::register_away;
use crate::target::{Target, TargetError};

/// Who is away.
const AWAY: usize = 20;
/// Who writes.
const WRITERS: usize = 4;
/// Between two messages of a writer, and between two readings.
const PACE: Duration = Duration::from_millis(25);
const READING_PACE: Duration = Duration::from_millis(60);
/// Between two tries of what was not answered.
const RETRY: Duration = Duration::from_millis(50);

/// A conversation of somebody who is away with a writer.
#[derive(Default)]
struct Talk {
    /// seqs of its messages, in order.
    messages: Vec<u64>,
    read_seq: u64,
}

/// How everybody stands, by user and conversation.
type Standing = BTreeMap<(usize, String), Talk>;

/// The people.
pub struct People {
    name: String,
    writers: Vec<Client>,
    laptops: Vec<Client>,
    talks: Vec<(usize, usize, ConversationId)>,
    standing: Arc<Mutex<Standing>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl People {
    /// Makes them, with a phone each that is away and registered at `webhook`.
    pub async fn begin(target: &Target, name: &str, webhook: &str) -> Result<Self, TargetError> {
        let mut laptops = Vec::new();
        for number in 0..AWAY {
            let user = format!("{name}-away-{number}");
            let phone = target.client(&user, "phone")?;
            register_away(&phone, webhook).await?;
            // It has no session: only what it reads tells of it.
            laptops.push(target.client(&user, "laptop")?);
        }
        let mut writers = Vec::new();
        let mut talks = Vec::new();
        for writer in 0..WRITERS {
            let client = target.client(&format!("{name}-writes-{writer}"), "phone")?;
            for away in (writer..AWAY).step_by(WRITERS) {
                let made = client.create_direct(&format!("{name}-away-{away}")).await;
                let made = made.map_err(TargetError::refused("a conversation"))?;
                let id = ConversationId::from_wire(&made.conversation_id);
                talks.extend(id.map(|id| (writer, away, id)));
            }
            writers.push(client);
        }
        Ok(Self {
            name: name.to_owned(),
            writers,
            laptops,
            talks,
            standing: Arc::default(),
        })
    }

    /// Writes and reads for a while; returns once all of it is answered.
    pub async fn act(&self, time: Duration, seed: u64) {
        let mut tasks = tokio::task::JoinSet::new();
        for (writer, client) in self.writers.iter().enumerate() {
            let own = self.talks.iter().filter(|talk| talk.0 == writer);
            let own: Vec<_> = own.copied().collect();
            let chance = StdRng::seed_from_u64(seed ^ writer as u64);
            tasks.spawn(write(
                client.clone(),
                own,
                self.standing.clone(),
                chance,
                time,
            ));
        }
        let talks = self.talks.iter().map(|talk| (talk.1, talk.2)).collect();
        let chance = StdRng::seed_from_u64(!seed);
        let reading = read(
            self.laptops.clone(),
            talks,
            self.standing.clone(),
            chance,
            time,
        );
        tasks.spawn(reading);
        while tasks.join_next().await.is_some() {}
    }

    /// How each of them stands.
    pub fn ends(&self) -> BTreeMap<String, End> {
        let mut ends: BTreeMap<String, End> = BTreeMap::new();
        for ((away, talk), stands) in lock(&self.standing).iter() {
            let Some(&last) = stands.messages.last() else {
                continue;
            };
            let end = ends
                .entry(format!("{}-away-{away}", self.name))
                .or_default();
            let read = stands.read_seq >= last;
            end.conversations.insert(talk.clone(), (last, read));
            let unread = stands.messages.iter().filter(|seq| **seq > stands.read_seq);
            end.badge += unread.count() as u64;
        }
        ends
    }
}

async fn write(
    client: Client,
    talks: Vec<(usize, usize, ConversationId)>,
    standing: Arc<Mutex<Standing>>,
    mut chance: StdRng,
    time: Duration,
) {
    let until = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < until {
        let Some(&(_, away, talk)) = talks.choose(&mut chance) else {
            return;
        };
        let outgoing = Outgoing {
            conversation_id: talk,
            client_message_id: client.mint(),
            message: text("are you there?".to_owned()),
        };
        let seq = loop {
            match client.send(outgoing.clone()).await {
                Ok(sent) => break sent.seq,
                Err(error) => {
                    tracing::debug!(%error, "a send is repeated");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        let key = (away, talk.to_string());
        lock(&standing).entry(key).or_default().messages.push(seq);
        tokio::time::sleep(PACE).await;
    }
}

async fn read(
    laptops: Vec<Client>,
    talks: Vec<(usize, ConversationId)>,
    standing: Arc<Mutex<Standing>>,
    mut chance: StdRng,
    time: Duration,
) {
    let until = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < until {
        tokio::time::sleep(READING_PACE.mul_f64(chance.random_range(0.5..1.5))).await;
        let Some(&(away, talk)) = talks.choose(&mut chance) else {
            return;
        };
        let key = (away, talk.to_string());
        let last = lock(&standing)
            .get(&key)
            .and_then(|talk| talk.messages.last().copied());
        let Some(last) = last else { continue };
        while let Err(error) = laptops[away].mark(talk, last).await {
            tracing::debug!(%error, "a mark is repeated");
            tokio::time::sleep(RETRY).await;
        }
        let mut standing = lock(&standing);
        let stands = standing.entry(key).or_default();
        stands.read_seq = stands.read_seq.max(last);
    }
}
