//! The service's life: opening the store, its tasks, and the process around it.
//!
//! Invariant: the store is closed after the last task that uses it, so that nothing accepted is
//! given up at a drain.

use std::sync::Arc;
use std::time::Duration;

use heddle_kit::health::{Health, add_reflection};
use heddle_kit::layers::CallerTable;
use heddle_kit::run::{Context, StartError};
use heddle_kit::tls::Inside;
use heddle_kit::{Guarded, Tasks, Verb, serve};
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::cassandra::{self, ScyllaDriver, driver::Driver};
use crate::config::{HistoryConfig, HistoryProcess, StoreKind};
use crate::embedded::{EmbeddedStore, OpenError};
use crate::leases::LeasesInMemory;
use crate::service::StoreDoor;
use crate::store::EventStore;

/// The service's full name, for health.
pub const SERVICE: &str = "heddle.internal.v1.StoreService";
/// Who may call what.
const CALLERS: CallerTable = &[
    (
        "/heddle.internal.v1.StoreService/Read",
        &["chat-svc", "gateway"],
    ),
    ("/heddle.internal.v1.StoreService/", &["chat-svc"]),
];
/// How often the age of erased bodies is looked at.
const ERASURE_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The event store of one process.
pub struct HistoryService {
    store: Arc<EmbeddedStore>,
    door: StoreDoor,
}

impl HistoryService {
    /// Opens the store below `config.data_dir`; the service's tasks are spawned on `tasks`, which
    /// should be a child of its own. Its streams end before the store does.
    pub async fn open(config: HistoryConfig, tasks: &Tasks) -> Result<Self, OpenError> {
        Self::open_with(config, tasks, |store| store).await
    }

    /// The same behind another store that `wrap` puts around it, so that a test can plant faults.
    pub async fn open_with(
        config: HistoryConfig,
        tasks: &Tasks,
        wrap: impl FnOnce(Arc<dyn EventStore>) -> Arc<dyn EventStore>,
    ) -> Result<Self, OpenError> {
        let opening = config.clone();
        let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&opening)).await;
        let store = Arc::new(opened.unwrap_or_else(|panic| {
            Err(OpenError::Engine {
                path: config.store_dir(),
                detail: panic.to_string(),
            })
        })?);
        tasks.spawn("store", keep(store.clone(), config.clone(), tasks.clone()));
        let leases = Arc::new(LeasesInMemory::default());
        let streams = tasks.child("streams");
        let door = StoreDoor::new(wrap(store.clone()), leases, config, streams);
        Ok(Self { store, door })
    }

    /// The gRPC routes.
    pub fn routes(&self) -> Routes {
        self.door.clone().routes()
    }

    /// The store itself, for checks and tests.
    pub fn store(&self) -> &Arc<EmbeddedStore> {
        &self.store
    }
}

/// Compacts when erased bodies have waited long enough, and closes the store at the end.
async fn keep(store: Arc<EmbeddedStore>, config: HistoryConfig, tasks: Tasks) {
    let age_max = config.erase_compaction_age();
    loop {
        tokio::select! {
            () = tasks.stopping().cancelled() => break,
            () = tokio::time::sleep(ERASURE_CHECK_INTERVAL) => {}
        }
        if store.erasure_age().is_some_and(|age| age >= age_max) {
            let compacting = store.clone();
            let done = tokio::task::spawn_blocking(move || compacting.compact()).await;
            match done {
                Ok(Ok(())) => tracing::info!("erased bodies have left the disk"),
                failed => tracing::error!(?failed, "erased bodies are still on disk; will retry"),
            }
        }
    }
    store.close().await;
}

/// What the binary can do beside serving.
pub const VERBS: &[Verb] = &[Verb {
    name: MIGRATE,
    about: "Bring the schema on Cassandra up to date, and end",
}];
const MIGRATE: &str = "migrate";

/// Serves as a process of its own, or does what the verb says.
pub async fn perform(
    verb: Option<&'static str>,
    context: Context<HistoryProcess>,
) -> Result<(), StartError> {
    perform_over(&ScyllaDriver, verb, context).await
}

/// The same, with Cassandra over another driver.
pub async fn perform_over(
    driver: &dyn Driver,
    verb: Option<&'static str>,
    context: Context<HistoryProcess>,
) -> Result<(), StartError> {
    match verb {
        None => start(driver, context).await,
        Some(_) => {
            let version = cassandra::migrate(driver, &context.config.cassandra).await?;
            tracing::info!(version, "the schema is up to date");
            context.tasks.end_process();
            Ok(())
        }
    }
}

async fn start(driver: &dyn Driver, context: Context<HistoryProcess>) -> Result<(), StartError> {
    let Context { config, tasks, .. } = context;
    // Before the store's: what is born first is drained last, so streams end in good order while
    // their connections still live.
    let sockets = tasks.child("server");
    let own = tasks.child("history");
    let inside = Inside::load(&config.tls, config.listen, &own)?;
    let (routes, cassandra) = match config.store {
        StoreKind::Embedded => {
            let service = HistoryService::open(config.history, &own).await?;
            (service.routes(), None)
        }
        StoreKind::Cassandra => {
            let store = cassandra::open_when_ready(driver, &config.cassandra, &own).await?;
            let store = Arc::new(store);
            let leases = Arc::new(store.leases());
            let streams = own.child("streams");
            let door = StoreDoor::new(store.clone(), leases, config.history, streams);
            (door.routes(), Some(store))
        }
    };
    let (routes, health) = Health::add_to(routes, &[SERVICE]).await;
    let routes = add_reflection(routes, &[heddle_proto::ALL_DESCRIPTORS])?;
    let guarded = Guarded::only(routes, &config.layers, CALLERS);
    let listener = TcpListener::bind(config.listen).await?;
    let address = serve(listener, inside.server, &config.serve, guarded, &sockets)?;
    health.serving(&[SERVICE]).await;
    if let Some(store) = cassandra {
        let stopping = own.stopping().clone();
        own.spawn("health", async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = store.watch(|ready| health.set(SERVICE, ready)) => {}
            }
        });
    }
    tracing::info!(%address, "serving the event store");
    Ok(())
}
