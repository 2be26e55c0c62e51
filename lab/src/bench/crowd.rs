//! A crowd: groups whose members all stop reading, or read, while messages come.
//!
//! [`stalled`](super::stalled) measures what that costs others. Members hold open sessions with
//! small stream windows, so that one that does not read stands still on the wire, too. Who speaks
//! does so by unary calls, since the sessions of all members may stand still.
//!
//! Invariant: each member counts what it gets, and a hole in its mailbox fails its session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heddle_sdk::{Client, ConversationId, Outgoing, text};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::BenchError;
use crate::load::{Endpoint, Happening, Pace, Plan, Seat, SeatPlan, TransportError, connect_all};
use crate::target::transport::{HeddleEndpoint, HeddleTransport};
use crate::target::{Target, TargetError};

/// Length of each message, in bytes.
pub const BODY_BYTES: usize = 1024;
/// From one message to a group's next.
pub const PACE: Duration = Duration::from_millis(100);
/// HTTP/2 window of a member's stream, in bytes: what its own side holds back of what it does not
/// read.
const STREAM_WINDOW_BYTES: u32 = 16 << 10;
/// How often is looked whether all have everything.
const LOOK: Duration = Duration::from_millis(20);

/// How many groups of how many members.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Groups.
    pub groups: u32,
    /// Members of each, the speaker among them.
    pub members: u32,
}

/// All members, with open sessions.
pub struct Crowd {
    speakers: Vec<Speaker>,
    reading: watch::Sender<bool>,
    heard: Arc<AtomicU64>,
    members: JoinSet<Result<(), TransportError>>,
    hearers: u64,
    due: u64,
}

/// Who speaks in a group.
#[derive(Clone)]
struct Speaker {
    client: Client,
    group: ConversationId,
}

impl Crowd {
    /// Makes the groups and opens everybody's session; they read.
    pub async fn gather(target: &Target, size: Size) -> Result<Crowd, BenchError> {
        let plan = plan(size);
        let transport = HeddleTransport::prepare(target, &plan).await?;
        let transport = transport.stream_window(STREAM_WINDOW_BYTES);
        let speaker = |group: u32| -> Result<Speaker, BenchError> {
            let known = transport.room(&room(group));
            Ok(Speaker {
                client: target.client(&name(group, 0), "speaker")?,
                group: known.ok_or_else(|| BenchError::Session("a group is not there".into()))?,
            })
        };
        let speakers = (0..size.groups).map(speaker).collect::<Result<_, _>>()?;
        let seats: Vec<Seat> = plan.seats.into_iter().map(|seat| seat.seat).collect();
        let endpoints = connect_all(&transport, &seats).await;
        let (reading, _) = watch::channel(true);
        let heard = Arc::new(AtomicU64::new(0));
        let mut members = JoinSet::new();
        for endpoint in endpoints.map_err(crate::load::LoadError::from)? {
            members.spawn(member(endpoint, reading.subscribe(), heard.clone()));
        }
        Ok(Crowd {
            speakers,
            reading,
            heard,
            members,
            hearers: u64::from(size.members.saturating_sub(1)),
            due: 0,
        })
    }

    /// From now on all read, or nobody does.
    pub fn read(&self, reading: bool) {
        self.reading.send_replace(reading);
    }

    /// Ten messages a second to each group until `stop`; the answer is how many were stored.
    pub async fn speak(&mut self, stop: &CancellationToken) -> Result<u64, BenchError> {
        let mut speaking = JoinSet::new();
        for speaker in self.speakers.clone() {
            speaking.spawn(speaker.speak(stop.clone()));
        }
        let mut stored = 0;
        while let Some(spoken) = speaking.join_next().await {
            stored += spoken.map_err(crate::load::LoadError::from)??;
        }
        self.due += stored * self.hearers;
        Ok(stored)
    }

    /// Deliveries that are due and were not made by a deadline.
    pub async fn missing(&mut self, patience: Duration) -> Result<u64, BenchError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(ended) = self.members.try_join_next() {
                ended
                    .map_err(crate::load::LoadError::from)?
                    .map_err(crate::load::LoadError::from)?;
            }
            let missing = self.due.saturating_sub(self.heard.load(Ordering::Relaxed));
            if missing == 0 || Instant::now() >= deadline {
                return Ok(missing);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Speaker {
    async fn speak(self, stop: CancellationToken) -> Result<u64, BenchError> {
        let mut due = tokio::time::interval(PACE);
        let mut stored = 0;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(stored),
                _ = due.tick() => {}
            }
            let outgoing = Outgoing {
                conversation_id: self.group,
                client_message_id: self.client.mint(),
                message: text("x".repeat(BODY_BYTES)),
            };
            let sent = self.client.send(outgoing).await;
            sent.map_err(TargetError::refused("a message to a group"))?;
            stored += 1;
        }
    }
}

/// Reads while all do; else stands still.
async fn member(
    mut endpoint: HeddleEndpoint,
    mut reading: watch::Receiver<bool>,
    heard: Arc<AtomicU64>,
) -> Result<(), TransportError> {
    loop {
        let reads = *reading.borrow_and_update();
        tokio::select! {
            happening = endpoint.next(), if reads => {
                if matches!(happening?, Happening::Delivered { .. }) {
                    heard.fetch_add(1, Ordering::Relaxed);
                }
            }
            changed = reading.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn plan(size: Size) -> Plan {
    let mut plan = Plan::pairs(0, 0);
    let seats = (0..size.groups).flat_map(|group| {
        (0..size.members).map(move |member| SeatPlan {
            seat: Seat {
                name: name(group, member),
                room: room(group),
                peers: size.members.saturating_sub(1),
            },
            pace: Pace::Silent,
        })
    });
    plan.seats = seats.collect();
    plan
}

fn room(group: u32) -> String {
    format!("crowd-{group}")
}

fn name(group: u32, member: u32) -> String {
    format!("crowd-{group}-{member}")
}
