//! One device of the mixed workload: reads all, does something at random, goes away, comes back.
//!
//! Invariant: a message is recorded under its id before the session has it, and stays pending until
//! it is answered, over however many sessions; an answer that a session took with it is unknown.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heddle_proto::v1::{self, state_change};
use heddle_sdk::{Client, MessageId, SendOutcome, Session, SessionHandle, Update};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Code;

use super::kept::Kept;
use super::{Shared, acts, observe};
use crate::checker::{Kind, Mark, Outcome};
use crate::target::Target;

/// Between two things that a device does.
const PACE: Duration = Duration::from_millis(8);
/// Messages and errands that a device has unanswered, at most.
const BUSY_MAX: usize = 6;
/// Messages that a device remembers for edits and the like.
const SEEN_MAX: usize = 48;
/// Updates taken at a time.
const BATCH_MAX: usize = 256;

/// What the end of a run must know of a device.
#[derive(Debug, Default)]
pub struct View {
    /// Greatest seq seen, by group.
    pub seen: BTreeMap<usize, u64>,
    /// Greatest seq known to be delivered, by group and user.
    pub delivered: BTreeMap<(usize, u32), u64>,
    /// Nothing pending, and online.
    pub idle: bool,
}

/// Shared with the end of a run.
pub type SharedView = Arc<Mutex<View>>;

/// A view, for a moment.
pub fn view(shared: &SharedView) -> MutexGuard<'_, View> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Pending {
    pub id: MessageId,
    pub record: u32,
    /// An answer may have been lost with a connection.
    pub lost: bool,
}

pub(super) struct Seen {
    pub group: usize,
    pub seq: u64,
    pub mine: bool,
}

/// A device at work.
pub struct Actor {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Client,
    pub(super) user: usize,
    /// Index in the history.
    pub(super) device: u32,
    pub(super) chance: StdRng,
    home: watch::Receiver<bool>,
    /// What the end of a run must know.
    pub view: SharedView,
    pub(super) session: Option<Session>,
    /// The session that was left, perhaps not over yet.
    left: Option<SessionHandle>,
    kept: Kept,
    cursor: Option<v1::Cursor>,
    asked_us: u64,
    pub(super) pending: VecDeque<Pending>,
    pub(super) errands: JoinSet<()>,
    pub(super) seen: VecDeque<Seen>,
    away_ticks: u32,
    pub(super) said: u64,
}

impl Actor {
    /// Opens its session.
    pub async fn open(
        shared: Arc<Shared>,
        client: Client,
        user: usize,
        number: usize,
        seed: u64,
        home: watch::Receiver<bool>,
    ) -> Result<Actor, heddle_sdk::Error> {
        let name = format!("{}/{number}", shared.ids[user]);
        let device = shared.recorder.lock().device(user as u32, name);
        let mut actor = Actor {
            shared,
            client,
            user,
            device,
            chance: StdRng::seed_from_u64(seed),
            home,
            view: SharedView::default(),
            session: None,
            left: None,
            kept: Kept::default(),
            // From the beginning of the mailbox: groups were made before.
            cursor: Some(v1::Cursor::default()),
            asked_us: 0,
            pending: VecDeque::new(),
            errands: JoinSet::new(),
            seen: VecDeque::new(),
            away_ticks: 0,
            said: 0,
        };
        actor.come().await?;
        if let Some(session) = &actor.session {
            session.connected().await?;
        }
        Ok(actor)
    }

    /// Works until the world ends.
    pub async fn run(mut self) {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                taken = next_batch(&mut self.session, &mut batch) => {
                    if taken == 0 {
                        self.session = None;
                    }
                    for update in batch.drain(..) {
                        self.take(update);
                    }
                }
                _ = ticks.tick() => self.tick().await,
                Some(_) = self.errands.join_next() => {}
            }
            let is_idle =
                self.session.is_some() && self.pending.is_empty() && self.errands.is_empty();
            view(&self.view).idle = is_idle;
        }
    }

    async fn come(&mut self) -> Result<(), heddle_sdk::Error> {
        if let Some(left) = self.left.take() {
            left.closed().await;
        }
        self.asked_us = self.shared.now_us();
        let opening = self
            .client
            .session()
            .resume(self.cursor)
            .outbox_store(self.kept.clone())
            .backoff(Target::backoff());
        self.forget_settled();
        self.session = Some(opening.open().await?);
        Ok(())
    }

    /// Of what the last session settled without having been read, the answer is unknown; what it
    /// did not settle, the next one sends.
    fn forget_settled(&mut self) {
        for mut pending in std::mem::take(&mut self.pending) {
            if self.kept.has(pending.id) {
                pending.lost = true;
                self.pending.push_back(pending);
            } else {
                self.settle(&pending, Outcome::Unknown);
            }
        }
    }

    fn settle(&self, pending: &Pending, outcome: Outcome) {
        let shared = &self.shared;
        shared.outstanding.fetch_sub(1, Ordering::Relaxed);
        let acknowledged = u64::from(matches!(outcome, Outcome::Ok(_)));
        shared
            .acknowledged
            .fetch_add(acknowledged, Ordering::Relaxed);
        let now_us = shared.now_us();
        shared
            .recorder
            .lock()
            .answer(pending.record, outcome, now_us);
    }

    async fn tick(&mut self) {
        if self.session.is_none() {
            self.away_ticks = self.away_ticks.saturating_sub(1);
            if (self.away_ticks == 0 || *self.home.borrow())
                && let Err(error) = self.come().await
            {
                tracing::warn!(%error, "a device could not come back");
            }
            return;
        }
        let busy = self.pending.len() + self.errands.len();
        if self.shared.stop.load(Ordering::Relaxed) || busy >= BUSY_MAX {
            return;
        }
        match self.chance.random_range(0..1000) {
            0..550 => self.say().await,
            550..650 => self.change(true, acts::edit),
            650..700 => self.change(true, acts::erase),
            700..830 => self.change(false, acts::react),
            830..930 => self.mark(),
            930..970 => self.hide(),
            970..982 => self.rejoin(),
            _ => {
                // Errands hold a handle of the session: it goes when they are done.
                if self.errands.is_empty() {
                    self.left = self.session.take().map(|session| session.handle());
                    self.away_ticks = self.chance.random_range(5..60);
                }
            }
        }
    }

    fn take(&mut self, update: Update) {
        let cursor = update.cursor();
        match update {
            Update::Connected(opened) => {
                let from = match opened.outcome() {
                    v1::ResumeOutcome::Resumed => self.cursor,
                    _ => opened.head,
                };
                let position = from.map_or(0, |cursor| cursor.position);
                self.cursor = from;
                self.shared
                    .recorder
                    .lock()
                    .resumed(self.device, position, self.asked_us);
            }
            Update::Disconnected { .. } => {
                self.asked_us = self.shared.now_us();
                self.pending
                    .iter_mut()
                    .for_each(|pending| pending.lost = true);
            }
            Update::Event(delivery) => self.event(&delivery),
            Update::State(delivery) => self.state(*delivery),
            Update::Sent(outcome) => self.sent(*outcome),
            Update::Closed(error) => {
                tracing::warn!(%error, "a session ended");
                self.shared.note_error(&error);
            }
            _ => {}
        }
        self.cursor = cursor.or(self.cursor);
    }

    fn event(&mut self, delivery: &v1::EventDelivery) {
        let (Some(event), Some(cursor)) = (&delivery.event, &delivery.cursor) else {
            return;
        };
        let Some(observed) = observe::event(&self.shared, event) else {
            return;
        };
        let now_us = self.shared.now_us();
        let recorder = &self.shared.recorder;
        recorder
            .lock()
            .delivered(self.device, observed, cursor.position, now_us);
        let group = observed.conversation as usize;
        let mut view = view(&self.view);
        let seen = view.seen.entry(group).or_default();
        *seen = observed.seq.max(*seen);
        let is_message = observed.kind == Kind::Message;
        if is_message {
            let delivered = view.delivered.entry((group, observed.sender)).or_default();
            *delivered = observed.seq.max(*delivered);
        }
        drop(view);
        if is_message && group < self.shared.groups.len() {
            let mine = observed.sender as usize == self.user;
            self.seen.push_back(Seen {
                group,
                seq: observed.seq,
                mine,
            });
            if self.seen.len() > SEEN_MAX {
                self.seen.pop_front();
            }
        }
    }

    fn state(&mut self, delivery: v1::StateDelivery) {
        let Some(state_change::Kind::Mark(mark)) = delivery.state.and_then(|state| state.kind)
        else {
            return;
        };
        let (Some(group), Some(user)) = (
            self.shared.group(&mark.conversation_id),
            self.shared.user(&mark.user_id),
        ) else {
            return;
        };
        let mut view = view(&self.view);
        let delivered = view.delivered.entry((group, user)).or_default();
        *delivered = mark.delivered_seq.max(*delivered);
        drop(view);
        self.shared.recorder.lock().mark(Mark {
            device: self.device,
            conversation: group as u32,
            user,
            delivered: mark.delivered_seq,
            read: mark.read_seq,
        });
    }

    fn sent(&mut self, sent: SendOutcome) {
        let id = sent.client_message_id;
        let over = [Code::Unavailable, Code::Cancelled];
        if sent
            .result
            .as_ref()
            .is_err_and(|error| over.contains(&error.code))
        {
            // The session is over; the next one sends it again.
            return;
        }
        if let Err(error) = &sent.result {
            self.shared.note_error(error);
        }
        let place = self.pending.iter().position(|p| p.id == id);
        let Some(pending) = place.and_then(|place| self.pending.remove(place)) else {
            return;
        };
        let outcome = match sent.result {
            Ok(sent) => Outcome::Ok(sent.seq),
            Err(_) if pending.lost => Outcome::Unknown,
            Err(_) => Outcome::Failed,
        };
        self.settle(&pending, outcome);
    }
}

/// Waits for ever while there is no session.
async fn next_batch(session: &mut Option<Session>, batch: &mut Vec<Update>) -> usize {
    match session {
        Some(session) => session.next_batch(batch, BATCH_MAX).await,
        None => std::future::pending().await,
    }
}
