//! Server: wires a gateway together.
//!
//! Made by `heddle serve` and by the gateway's own `main`: links in, routes out. What stands in
//! front of the routes (TLS, accept limits, deadlines) is kit's.
//!
//! Invariant: in a drain, sessions are sent away first and their answers delivered; links close
//! last.

use crate::{
    api::Api,
    auth::{Authenticator, KeyError},
    canary,
    config::GatewayOptions,
    edge::Edge,
    limits::{Admission, Rates},
    metrics::{self, Metrics},
    presence::PresenceClient,
    session::{catch_up::CatchUp, registry::Registry},
    shard_link::ShardLinks,
    standing::Standing,
    store_link::StoreLink,
    timers::{self, Timers},
};
use heddle_kit::{AnyOf, Link, SharedClock, Tasks, health, health::Health};
use heddle_proto::{
    PUBLIC_DESCRIPTORS,
    edge::{
        history_service_server::HistoryServiceServer,
        messaging_service_server::MessagingServiceServer,
    },
    v1::{
        GoAwayReason, conversation_service_server::ConversationServiceServer,
        device_service_server::DeviceServiceServer,
        discovery_service_server::DiscoveryServiceServer,
        operations_service_server::OperationsServiceServer,
        presence_service_server::PresenceServiceServer, push_service_server::PushServiceServer,
        user_service_server::UserServiceServer,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// The services that a gateway offers, by their full names.
pub const SERVICES: [&str; 9] = [
    "heddle.v1.MessagingService",
    "heddle.v1.ConversationService",
    "heddle.v1.HistoryService",
    "heddle.v1.PresenceService",
    "heddle.v1.UserService",
    "heddle.v1.DeviceService",
    "heddle.v1.DiscoveryService",
    "heddle.v1.PushService",
    "heddle.v1.OperationsService",
];

/// How often is looked whether the gateway can do its work.
const READINESS_LOOK: Duration = Duration::from_millis(250);
/// A gateway that has lost most shards for so long says that it can't work.
const UNREADY_AFTER: Duration = Duration::from_secs(10);
/// How often a drain looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// What health was told last, and since when it is no more so. Pure.
#[derive(Debug, Default)]
struct Readiness {
    told: bool,
    lost_since: Option<Instant>,
}

impl Readiness {
    /// How it is now; what is to be told, if it is news.
    fn see(&mut self, ready: bool, now: Instant) -> Option<bool> {
        if ready {
            self.lost_since = None;
        } else if now - *self.lost_since.get_or_insert(now) < UNREADY_AFTER {
            return None;
        }
        (self.told != ready).then(|| {
            self.told = ready;
            ready
        })
    }
}

/// Where the other services are.
pub struct Links {
    /// chat-svc, each node.
    pub shards: Vec<Link>,
    /// history-svc, any of its processes.
    pub history: AnyOf,
    /// presence-svc, any of its processes.
    pub presence: AnyOf,
}

/// A gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No keys to check tokens with.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The protocol's own descriptors are broken.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A running gateway.
pub struct Gateway {
    edge: Arc<Edge>,
}

impl Gateway {
    /// Starts the links and timers of a gateway as tasks of `tasks`.
    pub fn new(
        options: GatewayOptions,
        links: Links,
        clock: SharedClock,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let incarnation: u64 = rand::random();
        let shards = ShardLinks::new(links.shards, options.hold_max_ms, options.held_commands_max);
        let auth = Arc::new(Authenticator::load(&options.auth, clock.clone())?);
        let edge = Arc::new(Edge {
            gateway_id: format!("{incarnation:016x}"),
            rates: Rates::new(&options.rates),
            admission: Admission::new(&options.admission, options.return_spread_ms),
            standing: Standing::default(),
            sessions: Registry::new(incarnation),
            catch_up: CatchUp::new(options.catch_up_reads_max),
            shards,
            store: StoreLink::new(links.history),
            presence: PresenceClient::new(links.presence, tasks.clone()),
            timers: Timers::default(),
            metrics: Metrics::new(),
            draining: AtomicBool::new(false),
            tasks: tasks.clone(),
            auth,
            clock,
            options,
        });
        metrics::observe(&edge);
        start(&edge, tasks);
        Ok(Self { edge })
    }

    /// The public services with reflection. Health is kit's (`Health::add_to`), since who serves
    /// knows when all is ready.
    pub fn routes(&self) -> Result<Routes, StartError> {
        let api = Api::new(self.edge.clone());
        let routes = Routes::new(MessagingServiceServer::new(api.clone()))
            .add_service(ConversationServiceServer::new(api.clone()))
            .add_service(HistoryServiceServer::new(api.clone()))
            .add_service(PresenceServiceServer::new(api.clone()))
            .add_service(UserServiceServer::new(api.clone()))
            .add_service(DeviceServiceServer::new(api.clone()))
            .add_service(DiscoveryServiceServer::new(api.clone()))
            .add_service(PushServiceServer::new(api.clone()))
            .add_service(OperationsServiceServer::new(api));
        Ok(health::add_reflection(routes, &[PUBLIC_DESCRIPTORS])?)
    }

    /// Whether every shard has an owner that this gateway knows.
    pub fn is_ready(&self) -> bool {
        self.edge.shards.is_ready()
    }

    /// Tells `health` whether the gateway can do its work, until it drains: it can while it reaches
    /// the owners of most shards, and a while longer, since a node that died is replaced within
    /// seconds and sends are held so long.
    pub fn watch_health(&self, health: Health, tasks: &Tasks) {
        let (edge, stopping) = (self.edge.clone(), tasks.stopping().clone());
        tasks.spawn("health", async move {
            let mut readiness = Readiness::default();
            loop {
                let ready = edge.shards.has_majority();
                if let Some(ready) = readiness.see(ready, Instant::now()) {
                    tracing::info!(ready, "most shards can be reached, or not");
                    health.tell(&SERVICES, ready).await;
                }
                tokio::select! {
                    () = stopping.cancelled() => return health.not_serving().await,
                    () = sleep(READINESS_LOOK) => {}
                }
            }
        });
    }

    /// Other gateways that clients could go to.
    pub fn elsewhere(&self) -> Vec<String> {
        self.edge.presence.gateways.elsewhere()
    }

    /// What all sessions share.
    #[cfg(test)]
    pub(crate) fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        self.edge.sessions.len()
    }
}

fn start(edge: &Arc<Edge>, tasks: &Tasks) {
    let stop = CancellationToken::new();
    ShardLinks::start(edge, tasks, &stop);
    StoreLink::start(edge, tasks, stop.clone());
    PresenceClient::start(edge, tasks, stop.clone());
    timers::start(edge, tasks, stop.clone());
    canary::start(edge, tasks);
    edge.auth.watch(tasks);
    let (edge, stopping) = (edge.clone(), tasks.stopping().clone());
    tasks.spawn("drain", async move {
        stopping.cancelled().await;
        drain(&edge).await;
        stop.cancel();
    });
}

/// Sends all sessions away and waits, not for ever, until they are gone and all is answered.
async fn drain(edge: &Arc<Edge>) {
    edge.draining.store(true, Ordering::Release);
    edge.presence.announce(edge);
    let end = Instant::now() + Duration::from_millis(edge.options.drain_max_ms);
    for session in edge.sessions.all() {
        session.leave(edge, GoAwayReason::Draining);
    }
    let busy = || !edge.sessions.is_empty() || edge.shards.pending() > 0;
    while busy() && Instant::now() < end {
        sleep(DRAIN_LOOK).await;
    }
    for session in edge.sessions.all() {
        session.go_away(edge, GoAwayReason::Draining);
    }
    edge.shards.abandon(edge);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_ready_at_once_and_unready_only_after_a_while() {
        let (mut readiness, begin) = (Readiness::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        assert_eq!(readiness.see(false, at(0)), None);
        assert_eq!(readiness.see(true, at(1)), Some(true));
        assert_eq!(readiness.see(true, at(2)), None);
        assert_eq!(readiness.see(false, at(100)), None);
        assert_eq!(readiness.see(true, at(9_000)), None);
        assert_eq!(readiness.see(false, at(10_000)), None);
        assert_eq!(readiness.see(false, at(19_999)), None);
        assert_eq!(readiness.see(false, at(20_000)), Some(false));
        assert_eq!(readiness.see(false, at(30_000)), None);
        assert_eq!(readiness.see(true, at(40_000)), Some(true));
    }
}
