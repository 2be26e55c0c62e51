//! Service: `PresenceLinkService` over a store, and its life as a process of its own.
//!
//! `heddle serve` takes [`PresenceService::open`]; `main` takes [`start`]. A gateway's stream is
//! two tasks, see `link`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use heddle_kit::health::{Health, add_reflection};
use heddle_kit::layers::CallerTable;
use heddle_kit::link::outbox::outbox_sized;
use heddle_kit::run::StartError;
use heddle_kit::tls::Inside;
use heddle_kit::{Context, Guarded, SharedClock, SystemClock, Tasks, serve};
use heddle_proto::ALL_DESCRIPTORS;
use heddle_proto::internal::presence_link_service_server::{
    PresenceLinkService, PresenceLinkServiceServer, SERVICE_NAME,
};
use heddle_proto::internal::{PresenceLinkRequest, PresenceLinkResponse};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::config::{PresenceConfig, PresenceProcess};
use crate::embedded::{self, EmbeddedStore, SnapshotDir, keep};
use crate::link::{self, GatewayLink};
use crate::redis::{RedisError, RedisPresence};
use crate::store::PresenceStore;
use crate::wire::{Down, frame};

/// Who may call what.
const CALLERS: CallerTable = &[("/heddle.internal.v1.PresenceLinkService/", &["gateway"])];

/// Presence, ready to be linked to. Cheap to clone.
#[derive(Clone)]
pub struct PresenceService {
    config: Arc<PresenceConfig>,
    store: Arc<dyn PresenceStore>,
    /// The store, if it has to be waited for.
    redis: Option<Arc<RedisPresence>>,
    clock: SharedClock,
    tasks: Tasks,
}

/// Presence cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What it wrote down cannot be opened.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The settings about Redis are wrong.
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl PresenceService {
    /// Opens the store that the settings name, whose tasks and those of all links are a child of
    /// `tasks`. Redis need not answer yet, see [`PresenceService::ready`].
    pub async fn open(
        config: PresenceConfig,
        clock: SharedClock,
        tasks: &Tasks,
    ) -> Result<Self, OpenError> {
        let tasks = tasks.child("presence");
        let mut redis = None;
        let store: Arc<dyn PresenceStore> = if config.redis_urls.is_empty() {
            open_embedded(&config, &tasks).await?
        } else {
            redis
                .insert(Arc::new(RedisPresence::start(&config, &tasks)?))
                .clone()
        };
        Ok(Self {
            config: Arc::new(config),
            store,
            redis,
            clock,
            tasks,
        })
    }

    /// Waits until the store answers, or everything stops.
    pub async fn ready(&self) {
        if let Some(redis) = &self.redis {
            self.tasks.until_stopping(redis.ready()).await;
        }
    }

    /// The service, to be put behind a socket or a local link.
    pub fn routes(&self) -> Routes {
        Routes::new(PresenceLinkServiceServer::new(self.clone()))
    }
}

/// In memory, with what was written down.
async fn open_embedded(
    config: &PresenceConfig,
    tasks: &Tasks,
) -> Result<Arc<EmbeddedStore>, embedded::OpenError> {
    let store = Arc::new(EmbeddedStore::new(config.users_max, config.timing()));
    let (opened, data_dir) = (store.clone(), config.data_dir.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let dir = SnapshotDir::open(&data_dir)?;
        dir.load(&opened)?;
        Ok(dir)
    });
    let dir = opening.await.map_err(|panicked| embedded::OpenError::Io {
        path: config.data_dir.clone(),
        error: panicked.into(),
    })??;
    let interval = Duration::from_millis(config.snapshot_interval_ms.max(1));
    let keeping = keep(store.clone(), dir, interval, tasks.stopping().clone());
    tasks.spawn("snapshot", keeping);
    Ok(store)
}

#[tonic::async_trait]
impl PresenceLinkService for PresenceService {
    type PresenceLinkStream =
        Pin<Box<dyn Stream<Item = Result<PresenceLinkResponse, Status>> + Send + 'static>>;

    async fn presence_link(
        &self,
        request: Request<Streaming<PresenceLinkRequest>>,
    ) -> Result<Response<Self::PresenceLinkStream>, Status> {
        let (outbox, down) = outbox_sized(self.config.outbox.clone(), Down::size_bytes, frame);
        let (up, frames) = mpsc::channel(self.config.frames_waiting_max.max(1));
        let worker = GatewayLink::new(
            &self.config,
            self.store.clone(),
            self.clock.clone(),
            outbox.clone(),
        );
        let stopping = self.tasks.stopping().child_token();
        let reader = link::read(request.into_inner(), up, outbox, stopping.clone());
        self.tasks.spawn_contained("gateway reader", reader);
        self.tasks
            .spawn_contained("gateway worker", worker.work(frames, stopping));
        Ok(Response::new(Box::pin(down)))
    }
}

/// Serves presence as a process of its own.
pub async fn start(context: Context<PresenceProcess>) -> Result<(), StartError> {
    let Context { config, tasks, .. } = context;
    let inside = Inside::load(&config.tls, config.listen, &tasks)?;
    let listener = TcpListener::bind(config.listen).await?;
    let service = PresenceService::open(config.presence, SystemClock::shared(), &tasks).await?;
    let (routes, health) = Health::add_to(service.routes(), &[SERVICE_NAME]).await;
    let routes = add_reflection(routes, &[ALL_DESCRIPTORS])?;
    let guarded = Guarded::only(routes, &config.layers, CALLERS);
    let address = serve(listener, inside.server, &config.serve, guarded, &tasks)?;
    service.ready().await;
    health.serving(&[SERVICE_NAME]).await;
    tracing::info!(%address, "presence serves gateways");
    Ok(())
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
