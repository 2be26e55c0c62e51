//! Presence: tells presence-svc who is here, and sessions who else is.
//!
//! Life signs of all sessions go out spread over the refresh time; watched users' changes come back
//! and go to the sessions that watch. `watch` counts, `allow` decides who may watch whom; over the
//! same stream gateways hear of each other (`gateways`), and share what users spend (`rates`).
//!
//! Invariant: everything here is a hint: if the link is away, presence is late, and nothing else
//! is.

mod allow;
pub mod gateways;
mod link;
mod rates;
mod watch;

use crate::{edge::Edge, session::Session, validate::At};
use gateways::Gateways;
use heddle_kit::link::Outbox;
use heddle_kit::{AnyOf, Tasks};
use heddle_proto::{
    errors::Fault,
    internal::{
        GatewayStatus, PresenceQuery, SessionReport, SessionState, Spent, StatusChange,
        WatchChange, raw_open_session_response::Frame,
    },
    v1::{self, ErrorReason, Presence, result::Outcome},
};
use rates::Sharing;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;
use watch::Watches;

/// How long an answer of presence-svc may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What goes to presence-svc.
enum Item {
    Report(SessionReport),
    Watch(WatchChange),
    Query(PresenceQuery),
    Status(StatusChange),
    Gateway(GatewayStatus),
    Spent(Vec<Spent>),
}

/// The way to presence-svc.
pub struct PresenceClient {
    service: AnyOf,
    outbox: RwLock<Option<Outbox<Item>>>,
    watches: Mutex<Watches>,
    queries: Mutex<HashMap<u64, oneshot::Sender<Vec<Presence>>>>,
    next_id: AtomicU64,
    tasks: Tasks,
    sharing: Sharing,
    /// The gateways that presence-svc knows.
    pub gateways: Gateways,
}

impl PresenceClient {
    /// Not connected yet; `tasks` runs what a session's watch needs.
    pub fn new(service: AnyOf, tasks: Tasks) -> Self {
        Self {
            service,
            outbox: RwLock::new(None),
            watches: Mutex::default(),
            queries: Mutex::default(),
            next_id: AtomicU64::new(1),
            tasks,
            sharing: Sharing::default(),
            gateways: Gateways::default(),
        }
    }

    /// Connects, and stays connected until `stop`.
    pub fn start(edge: &Arc<Edge>, tasks: &Tasks, stop: CancellationToken) {
        link::start(edge, tasks, stop);
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queries(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Vec<Presence>>>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, items: impl IntoIterator<Item = Item>) {
        if let Some(outbox) = self
            .outbox
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            // What does not fit is a hint; the next refresh repeats it.
            let _repeated = outbox.try_send_all(items);
        }
    }

    /// A session is here, in the foreground or the background.
    pub fn report(&self, session: &Session) {
        self.send([report(session, session.is_foreground())]);
    }

    /// A session has gone.
    pub fn gone(&self, session: &Session) {
        let gone = SessionReport {
            user_id: session.who().user_id.clone(),
            session_id: session.id(),
            state: SessionState::Gone.into(),
        };
        let change = self.watches().replace(session.id(), Vec::new());
        self.send([Item::Report(gone)].into_iter().chain(changes(change)));
    }

    /// Life signs of those sessions whose turn it is; each has one within the refresh time.
    pub fn refresh(&self, edge: &Edge, second: u64) {
        let turns = (edge.options.presence_refresh_ms / 1000).max(1);
        let due = edge.sessions.picked(|id| id % turns == second % turns);
        self.send(
            due.iter()
                .map(|session| report(session, session.is_foreground())),
        );
    }

    /// Says what this gateway is; the answer tells of the others.
    pub fn announce(&self, edge: &Edge) {
        let (sessions, draining) = (edge.sessions.len(), edge.is_draining());
        let status = gateways::own(&edge.options, &edge.gateway_id, sessions, draining);
        self.send([Item::Gateway(status)]);
    }

    /// Sets a user's own status.
    pub fn set_status(&self, user_id: &str, request: v1::SetStatusRequest) {
        self.send([Item::Status(StatusChange {
            user_id: user_id.to_owned(),
            status: request.status,
            hidden: request.presence_hidden,
        })]);
    }

    /// Presence of these users now.
    async fn query(&self, user_ids: Vec<String>) -> Result<Vec<Presence>, Fault> {
        if user_ids.is_empty() {
            return Ok(Vec::new());
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.queries().insert(id, answer);
        self.send([Item::Query(PresenceQuery { id, user_ids })]);
        let outcome = timeout(ANSWER_MAX, answered).await;
        self.queries().remove(&id);
        let away = || {
            let text = "presence cannot be told now; retry after the delay";
            Fault::new(ErrorReason::OwnerChanging, text).retry_after(1_000)
        };
        outcome.ok().and_then(Result::ok).ok_or_else(away)
    }

    /// Who of these is online, as far as the caller may know.
    pub async fn get(
        &self,
        edge: &Edge,
        user_id: &str,
        targets: Vec<String>,
    ) -> Result<Vec<Presence>, Fault> {
        let allowed = allow::allowed(edge, user_id, targets).await?;
        self.query(allowed).await
    }

    /// A session watches these users from now on.
    pub async fn watch(
        &self,
        edge: &Edge,
        session: &Session,
        targets: Vec<String>,
    ) -> Result<v1::WatchPresenceResponse, Fault> {
        At::CALL.users("user_ids", &targets, crate::session::frames::WATCHED_MAX)?;
        let allowed = allow::allowed(edge, &session.who().user_id, targets).await?;
        let change = self.watches().replace(session.id(), allowed.clone());
        self.send(changes(change));
        if session.is_ended() {
            let change = self.watches().replace(session.id(), Vec::new());
            self.send(changes(change));
        }
        let presences = self.query(allowed).await?;
        Ok(v1::WatchPresenceResponse { presences })
    }

    /// The same for a frame, which is answered when it is done.
    pub fn watch_frame(
        &self,
        edge: &Arc<Edge>,
        session: &Arc<Session>,
        request_id: u64,
        targets: Vec<String>,
    ) {
        let (edge, session) = (edge.clone(), session.clone());
        self.tasks.spawn_contained("watch", async move {
            let outcome = edge.presence.watch(&edge, &session, targets).await;
            session.answer(request_id, outcome.map(Outcome::Watch));
        });
    }

    /// A watched user's presence has changed.
    fn changed(&self, edge: &Edge, presence: &Presence) {
        let watchers = self.watches().watchers(&presence.user_id);
        edge.sessions.each_of(&watchers, |session| {
            session.notice(Frame::Presence(presence.clone()));
        });
    }
}

fn report(session: &Session, foreground: bool) -> Item {
    let state = if foreground {
        SessionState::Foreground
    } else {
        SessionState::Background
    };
    Item::Report(SessionReport {
        user_id: session.who().user_id.clone(),
        session_id: session.id(),
        state: state.into(),
    })
}

fn changes(change: watch::Change) -> impl Iterator<Item = Item> {
    let watch = |watch| move |user_id| Item::Watch(WatchChange { user_id, watch });
    change
        .added
        .into_iter()
        .map(watch(true))
        .chain(change.removed.into_iter().map(watch(false)))
}
