//! The task behind a session: connects, serves, comes back.
//!
//! Carries frames, commands and time to the `core`, which decides, and carries its answers away.
//! One task per session; nothing is spawned per message. Ends when the application drops or closes
//! the session, or when the server says that the device must not come back.

use super::command::Command;
use super::connection::{Connection, Opening};
use super::core::{Core, End, StoreChange};
use super::leaving::Leaving;
use super::taken::Taken;
use super::update::Update;
use crate::outbox::store::OutboxStore;
use crate::{Backoff, Error, client::Shared};
use futures_util::FutureExt;
use heddle_proto::v1;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Frames and commands handled before the engine looks at everything else again.
const BATCH_MAX: usize = 64;
/// How long a session that ends waits for the server to hear its last acknowledgement.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Whether a session is connected, for who waits for it.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    Connecting(Option<Error>),
    Connected,
    Closed(Error),
}

pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) core: Core,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) updates: mpsc::Sender<Update>,
    pub(super) taken: Arc<Taken>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) store: Option<Arc<dyn OutboxStore>>,
    pub(super) backoff: Backoff,
    pub(super) cancel: CancellationToken,
    pub(super) started: Instant,
    pub(super) token_refusals: u32,
    pub(super) elsewhere: Vec<String>,
    pub(super) leaving: Option<Leaving>,
    /// Of the last connection: the client's count of sessions, then this session's of connections.
    pub(super) attempt: u64,
}

/// Connections that one session may make before its numbers would reach the next session's.
const ATTEMPTS_OF_SESSION: u64 = 1 << 24;

/// What the first connection of a session counts up from.
pub(super) fn attempts_of(shared: &Shared) -> u64 {
    let sessions = shared.sessions.fetch_add(1, Ordering::Relaxed) + 1;
    sessions * ATTEMPTS_OF_SESSION
}

impl Engine {
    pub(super) async fn run(mut self) {
        let error = loop {
            let (end, caught_up) = self.once().await;
            self.core.disconnected(self.now_ms());
            self.change_store().await;
            if caught_up {
                self.backoff.worked();
            }
            match self.next_try(end) {
                Ok((error, retry_in)) => {
                    let standing = Standing::Connecting(Some(error.clone()));
                    self.standing.send_replace(standing);
                    self.core.tell(Update::Disconnected { error, retry_in });
                    if let Err(error) = self.pause(retry_in).await {
                        break error;
                    }
                }
                Err(error) => break error,
            }
        };
        self.close(error).await;
    }

    /// One connection, from dialling to its end; and whether it ever caught up.
    async fn once(&mut self) -> (End, bool) {
        self.attempt += 1;
        let opening = Opening {
            resume: self.core.track.cursor(),
            foreground: self.core.foreground,
            attempt: self.attempt,
            addresses: std::mem::take(&mut self.elsewhere),
        };
        let cancel = self.cancel.clone();
        let opened = tokio::select! {
            opened = Connection::open(&self.shared, opening) => opened,
            () = cancel.cancelled() => return (End::Closed, false),
        };
        let (connection, opened) = match opened {
            Ok(opened) => opened,
            Err(end) => return (end, false),
        };
        self.token_refusals = 0;
        self.core.opened(opened, self.now_ms());
        self.standing.send_replace(Standing::Connected);
        let mut caught_up = false;
        let end = self.serve(connection, &mut caught_up).await;
        (end, caught_up)
    }

    async fn serve(&mut self, mut connection: Connection, caught_up: &mut bool) -> End {
        let cancel = self.cancel.clone();
        // One timer for all that is due, moved only when the next thing is due at another time.
        let mut timer = pin!(tokio::time::sleep_until(self.started));
        loop {
            // What is settled or has another id must not come again from the store: what is
            // transmitted now counts on that.
            self.change_store().await;
            let now_ms = self.now_ms();
            let (now, answered) = (Instant::now(), self.core.is_answered());
            let leaving = self.leaving.as_ref();
            if leaving.is_some_and(|leaving| leaving.is_over(now, answered)) {
                self.say_goodbye(connection).await;
                return End::Left;
            }
            let is_due = leaving.is_some_and(|leaving| leaving.is_due(now));
            let stalled = !is_due && self.transmit(&connection, now_ms);
            self.hand_over();
            if self.core.token_expiring {
                self.refresh_token().await;
                continue;
            }
            if self.core.is_dead(now_ms) {
                return End::Lost(Error::local(
                    tonic::Code::Unavailable,
                    "no answer to a ping",
                ));
            }
            if self.core.is_behind() {
                return End::Resume("the application does not read; going on when it does");
            }
            let wake = self.wake_at(now, stalled, is_due);
            if let Some(at) = wake
                && timer.deadline() != at
            {
                timer.as_mut().reset(at);
            }
            let end = tokio::select! {
                () = cancel.cancelled() => Err(End::Closed),
                frame = connection.inbound.message() => self.inbound(frame, caught_up),
                command = self.commands.recv() => self.command(command),
                () = self.taken.changed() => {
                    self.core.taken(self.now_ms());
                    Ok(())
                }
                () = timer.as_mut(), if wake.is_some() => Ok(()),
                room = connection.outbound.reserve(), if stalled => {
                    drop(room);
                    Ok(())
                }
            };
            match end.and_then(|()| self.drain(&mut connection, caught_up)) {
                Ok(()) => {}
                Err(End::Closed) => {
                    self.say_goodbye(connection).await;
                    return End::Closed;
                }
                Err(end) => return end,
            }
        }
    }

    /// When there is something to do though nothing happens. Who is about to go sends nothing that
    /// would be due.
    fn wake_at(&self, now: Instant, stalled: bool, is_due: bool) -> Option<Instant> {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.wake_at(now));
        let core = self.core.wake_at_ms(stalled).filter(|_| !is_due);
        let core = core.map(|at_ms| self.started + millis(at_ms));
        core.into_iter().chain(leaving).min()
    }

    /// Takes what is ready, without going round the loop for each.
    fn drain(&mut self, connection: &mut Connection, caught_up: &mut bool) -> Result<(), End> {
        for _ in 0..BATCH_MAX {
            match connection.inbound.message().now_or_never() {
                Some(frame) => self.inbound(frame, caught_up)?,
                None => break,
            }
        }
        for _ in 0..BATCH_MAX {
            match self.commands.try_recv() {
                Ok(command) => self.command(Some(command))?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn inbound(
        &mut self,
        frame: Result<Option<v1::OpenSessionResponse>, tonic::Status>,
        caught_up: &mut bool,
    ) -> Result<(), End> {
        let frame = match frame {
            Ok(Some(frame)) => frame.frame,
            Ok(None) => return Err(End::Lost(Error::disconnected())),
            Err(status) => return Err(End::Lost(status.into())),
        };
        match frame {
            Some(frame) => {
                *caught_up |= matches!(frame, v1::open_session_response::Frame::CaughtUp(_));
                let now_ms = self.now_ms();
                match self.core.frame(frame, now_ms) {
                    Err(End::GoAway(go_away)) => self.asked_to_go(go_away),
                    taken => taken,
                }
            }
            // A kind of frame newer than this client: skip it and go on.
            None => Ok(()),
        }
    }

    fn command(&mut self, command: Option<Command>) -> Result<(), End> {
        let command = command.ok_or(End::Closed)?;
        let now_ms = self.now_ms();
        self.core.command(command, true, now_ms);
        Ok(())
    }

    /// Puts frames on the wire as long as there is room; true when there is none left.
    fn transmit(&mut self, connection: &Connection, now_ms: u64) -> bool {
        loop {
            let Ok(room) = connection.outbound.try_reserve() else {
                return !connection.outbound.is_closed();
            };
            match self.core.next_frame(now_ms) {
                Some(frame) => room.send(frame),
                None => return false,
            }
        }
    }

    /// Hands updates to the application as long as it has room.
    fn hand_over(&mut self) {
        while let Some((update, permit)) = self.core.next_update() {
            match self.updates.try_send(update) {
                Ok(()) => drop(permit),
                Err(mpsc::error::TrySendError::Full(update)) => {
                    self.core.put_back((update, permit));
                    return;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => self.cancel.cancel(),
            }
        }
    }

    async fn change_store(&mut self) {
        let Some(store) = &self.store else {
            self.core.store_changes.clear();
            return;
        };
        for change in std::mem::take(&mut self.core.store_changes) {
            let done = match change {
                StoreChange::Remove(id) => store.remove(id).await,
                StoreChange::Replace(old, outgoing) => match store.put(&outgoing).await {
                    Ok(()) => store.remove(old).await,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = done {
                // What stays in the store is sent again under the same id, which doubles nothing.
                tracing::warn!(%error, "the outbox store could not be changed");
            }
        }
    }

    async fn refresh_token(&mut self) {
        self.core.token_expiring = false;
        match self.shared.fresh_token().await {
            Ok(token) => self.core.authenticate(token),
            Err(error) => tracing::warn!(%error, "no fresh token; the session will end"),
        }
    }

    /// Waits before the next try, and until the application has read what waits for it.
    async fn pause(&mut self, delay: Duration) -> Result<(), Error> {
        let until = Instant::now() + delay;
        let cancel = self.cancel.clone();
        self.hand_over();
        loop {
            let behind = self.core.is_behind();
            let early = Instant::now() < until;
            if !early && !behind {
                return Ok(());
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(Error::closed()),
                command = self.commands.recv() => match command {
                    Some(command) => {
                        let now_ms = self.now_ms();
                        self.core.command(command, false, now_ms);
                    }
                    None => return Err(Error::closed()),
                },
                () = tokio::time::sleep_until(until), if early => {}
                room = self.updates.reserve(), if behind => {
                    let Ok(room) = room else {
                        return Err(Error::closed());
                    };
                    if let Some((update, permit)) = self.core.next_update() {
                        room.send(update);
                        drop(permit);
                    }
                }
            }
        }
    }

    /// Acknowledges what was taken, and lets the server hear it.
    async fn say_goodbye(&mut self, mut connection: Connection) {
        let now_ms = self.now_ms();
        if let Some(ack) = self.core.last_ack(now_ms) {
            // Without room the acknowledgement is lost, and the events come again: no harm.
            let _ = connection.outbound.try_send(ack);
        }
        drop(connection.outbound);
        let rest = async { while let Ok(Some(_)) = connection.inbound.message().await {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, rest).await;
    }

    async fn close(mut self, error: Error) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            let now_ms = self.now_ms();
            self.core.command(command, false, now_ms);
        }
        self.core.close(&error);
        self.change_store().await;
        self.standing.send_replace(Standing::Closed(error.clone()));
        self.core.tell(Update::Closed(error));
        while let Some((update, permit)) = self.core.next_update() {
            drop(permit);
            if self.cancel.is_cancelled() || self.updates.send(update).await.is_err() {
                return;
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn millis(length_ms: u64) -> Duration {
    Duration::from_millis(length_ms)
}
