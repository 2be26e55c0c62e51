//! Link: one gateway's stream, from its hello to its end.
//!
//! Two tasks: the reader only takes frames off the stream, the worker brings them to the store and
//! says what is news to the gateway (`book`). `service` starts both.
//!
//! Invariant: the reader never waits for the store or the writer. A gateway that reads slowly
//! holds up only its own news, which are looked up when there is room again, so it gets the latest
//! state and not all that happened meanwhile. When the stream ends nothing is undone: its sessions
//! end by their TTL, or live on when the gateway reports them on a new stream.

use std::sync::Arc;
use std::time::Duration;

use heddle_kit::SharedClock;
use heddle_kit::link::Outbox;
use heddle_proto::ids::NAME_BYTES_MAX;
use heddle_proto::internal::{
    GatewayList, GatewayStatus, PresenceAnswer, PresenceLinkRequest, PresenceQuery, Spent,
    WatchChange,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::book::WatchBook;
use crate::config::PresenceConfig;
use crate::rules::{Timing, UserId};
use crate::store::{Hint, PresenceStore, StoreError, gateway_name};
use crate::wire::{self, Batch, Down, is_name, presence};

/// Frames that the worker takes in one go.
const FRAMES_AT_ONCE_MAX: usize = 64;
/// News wait for room while more items than this wait to be written, so that answers have room.
const NEWS_WAITING_MAX: usize = 2 * 1024;
/// Users of whose spending is told in one go; of more only the first are counted. A gateway tells
/// of half as many each second.
const SPENT_AT_ONCE_MAX: usize = 1024;
/// Bytes of a gateway's address.
const ADDRESS_BYTES_MAX: usize = 512;
/// The store's answers are waited for this long; what was asked for is then given up.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes frames off the stream until it ends or `stopping`.
pub async fn read(
    mut stream: Streaming<PresenceLinkRequest>,
    frames: mpsc::Sender<PresenceLinkRequest>,
    outbox: Outbox<Down>,
    stopping: CancellationToken,
) {
    loop {
        let frame = tokio::select! {
            frame = stream.message() => frame,
            () = stopping.cancelled() => break,
        };
        let Ok(Some(frame)) = frame else { break };
        match frames.try_send(frame) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => break,
            Err(TrySendError::Full(_)) => {
                tracing::warn!("presence does not keep up with a gateway, which will report anew");
                let text = "too many reports wait; open a new stream and report all anew";
                let _ended_already = outbox.try_send(Down::End(Status::resource_exhausted(text)));
                break;
            }
        }
    }
}

/// The worker of one gateway.
pub struct GatewayLink {
    store: Arc<dyn PresenceStore>,
    clock: SharedClock,
    timing: Timing,
    tick: Duration,
    outbox: Outbox<Down>,
    book: WatchBook,
    /// From the first frame.
    gateway: Option<Arc<str>>,
}

impl GatewayLink {
    pub fn new(
        config: &PresenceConfig,
        store: Arc<dyn PresenceStore>,
        clock: SharedClock,
        outbox: Outbox<Down>,
    ) -> Self {
        let timing = config.timing();
        Self {
            store,
            clock,
            timing,
            tick: Duration::from_millis(config.tick_ms.max(1)),
            outbox,
            book: WatchBook::new(timing, config.recheck_ms, config.watched_max),
            gateway: None,
        }
    }

    /// Works until the reader has ended or `stopping`.
    pub async fn work(
        mut self,
        mut frames: mpsc::Receiver<PresenceLinkRequest>,
        stopping: CancellationToken,
    ) {
        let mut hints = self.store.changes();
        let mut tick = tokio::time::interval(self.tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut waiting = Vec::with_capacity(FRAMES_AT_ONCE_MAX);
        loop {
            tokio::select! {
                count = frames.recv_many(&mut waiting, FRAMES_AT_ONCE_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                hint = hints.recv() => self.note(hint),
                _ = tick.tick() => {}
                () = stopping.cancelled() => return,
            }
            if let Err(refusal) = self.take(&mut waiting).await {
                let _ended_already = self.outbox.try_send(Down::End(refusal));
                return;
            }
            self.tell().await;
        }
    }

    fn note(&mut self, hint: Result<Hint, broadcast::error::RecvError>) {
        match hint {
            Ok(users) => users.iter().for_each(|user| self.book.hint(user)),
            Err(_lagged) => self.book.hints_lost(),
        }
    }

    /// Brings what the gateway sent to the store, in few batches.
    async fn take(&mut self, frames: &mut Vec<PresenceLinkRequest>) -> Result<(), Status> {
        let mut batch = Batch::default();
        let (mut queries, mut spent, mut status) = (Vec::new(), Vec::new(), None);
        for frame in frames.drain(..) {
            let gateway = self.gateway(&frame.gateway_id)?;
            batch.add_reports(&gateway, frame.reports);
            batch.add_settings(frame.statuses);
            self.watch(frame.watches);
            queries.extend(frame.queries);
            spent.extend(frame.spent);
            status = frame.gateway.or(status);
        }
        if let Err(error) = self.store(batch).await {
            tracing::warn!(%error, "reports were lost; the next ones mend it");
        }
        if let Some(status) = status {
            self.announce(status).await;
        }
        if !spent.is_empty() {
            self.spend(&spent).await;
        }
        for query in queries {
            let answer = Down::Answer(self.answer(query).await);
            // Full: the gateway asked for more than it reads. It asks again.
            let _full = self.outbox.try_send(answer);
        }
        Ok(())
    }

    /// Passes on what the gateway says of itself, and tells it of all others. A store that does not
    /// know it any more has lost its sessions, too.
    async fn announce(&self, status: GatewayStatus) {
        let names = [&status.region, &status.gateway_id];
        let too_long = names.iter().any(|name| name.len() > NAME_BYTES_MAX);
        if too_long || status.address.len() > ADDRESS_BYTES_MAX {
            return tracing::warn!("a gateway's address, region or id is too long: not listed");
        }
        let now_ms = self.clock.now_ms();
        let listing = async {
            let known = self.store.gateways(now_ms).await?;
            self.store.announce(&status, now_ms).await?;
            Ok(known)
        };
        match within_timeout(listing).await {
            Ok(mut gateways) => {
                let own = |known: &GatewayStatus| gateway_name(known) == gateway_name(&status);
                let forgotten = !gateways.iter().any(own);
                gateways.retain(|known| !own(known));
                gateways.push(status);
                // Full: it asks again in a few seconds.
                let _full = self.outbox.try_send(Down::Gateways(GatewayList {
                    gateways,
                    forgotten,
                }));
            }
            Err(error) => tracing::warn!(%error, "gateways are not told of each other"),
        }
    }

    /// Counts what users have spent, and tells what all gateways have counted. Without the store
    /// nothing is told: the gateway goes by its own count, and says so.
    async fn spend(&self, spent: &[Spent]) {
        let spent = &spent[..spent.len().min(SPENT_AT_ONCE_MAX)];
        let spending = wire::spending(spent);
        let counted = within_timeout(self.store.spend(&spending, self.clock.now_ms())).await;
        match counted {
            Ok(totals) => {
                let totals = wire::totals(&spending, &totals);
                // Full: the gateway does without for a second.
                let _full = self.outbox.try_send(Down::Totals(totals));
            }
            Err(error) => tracing::debug!(%error, "what users have spent is not counted"),
        }
    }

    fn gateway(&mut self, said: &str) -> Result<Arc<str>, Status> {
        if let Some(gateway) = &self.gateway {
            return Ok(gateway.clone());
        }
        if !is_name(said) {
            let text = "gateway_id: name the gateway's incarnation in the first frame, in at most \
                        128 bytes";
            return Err(Status::invalid_argument(text));
        }
        let gateway = Arc::<str>::from(said);
        self.gateway = Some(gateway.clone());
        Ok(gateway)
    }

    fn watch(&mut self, watches: Vec<WatchChange>) {
        let mut refused = 0;
        for change in watches
            .into_iter()
            .filter(|change| is_name(&change.user_id))
        {
            if !change.watch {
                self.book.unwatch(&change.user_id);
            } else if !self.book.watch(change.user_id.into()) {
                refused += 1;
            }
        }
        if refused > 0 {
            tracing::warn!(
                refused,
                "a gateway watches too many; raise presence.watched_max"
            );
        }
    }

    async fn store(&self, batch: Batch) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let storing = async {
            let (alive, gone, settings) = batch.parts();
            if !alive.is_empty() {
                self.store.refresh(&alive, now_ms).await?;
            }
            if !gone.is_empty() {
                self.store.gone(&gone, now_ms).await?;
            }
            if !settings.is_empty() {
                self.store.set(&settings).await?;
            }
            Ok(())
        };
        within_timeout(storing).await
    }

    /// Without those whom the store could not tell of.
    async fn answer(&self, query: PresenceQuery) -> PresenceAnswer {
        let users: Vec<UserId> = query.user_ids.into_iter().map(Into::into).collect();
        let now_ms = self.clock.now_ms();
        let facts = within_timeout(self.store.lookup(&users))
            .await
            .unwrap_or_default();
        let presences = users.iter().zip(facts);
        let presences = presences
            .map(|(user, facts)| presence(user, facts.view(now_ms, self.timing)))
            .collect();
        PresenceAnswer {
            id: query.id,
            presences,
        }
    }

    /// Tells the gateway what is news of those whom it watches, as far as there is room.
    async fn tell(&mut self) {
        let room = NEWS_WAITING_MAX.saturating_sub(self.outbox.len());
        let now_ms = self.clock.now_ms();
        let due = self.book.take_due(now_ms, room);
        if due.is_empty() {
            return;
        }
        let Ok(facts) = within_timeout(self.store.lookup(&due)).await else {
            return self.book.postpone(due);
        };
        let mut news = Vec::new();
        for (user, facts) in due.iter().zip(&facts) {
            let view = self.book.learn(user, facts, now_ms);
            news.extend(view.map(|view| Down::News(presence(user, view))));
        }
        for refused in self.outbox.try_send_all(news) {
            if let Down::News(presence) = refused {
                self.book.watch(presence.user_id.into());
            }
        }
    }
}

async fn within_timeout<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let answered = tokio::time::timeout(STORE_TIMEOUT, call).await;
    answered.unwrap_or_else(|_late| Err(StoreError("no answer in time".into())))
}
