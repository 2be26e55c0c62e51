//! Service: `NotifyService` over a pipeline, and its life as a process of its own.
//!
//! `heddle serve` takes [`NotifyService::open`]; `main` takes [`start`]. Each shard's stream is a
//! task that only reads: the pipeline writes the outcomes.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use heddle_kit::health::{Health, add_reflection};
use heddle_kit::layers::CallerTable;
use heddle_kit::link::{Outbox, OutboxOptions, outbox};
use heddle_kit::run::StartError;
use heddle_kit::tls::Inside;
use heddle_kit::{Context, Guarded, SharedClock, SystemClock, Tasks, serve};
use heddle_proto::ALL_DESCRIPTORS;
use heddle_proto::internal::notify_service_server::{
    NotifyService as NotifyRpc, NotifyServiceServer, SERVICE_NAME,
};
use heddle_proto::internal::{IntentOutcome, NotifyRequest, NotifyResponse};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::config::{LaneConfig, NotifyConfig, NotifyProcess};
use crate::lane::Lane;
use crate::pipeline::Pipeline;
use crate::provider::{Kind, PushProvider};
use crate::providers;

/// Who may call what.
const CALLERS: CallerTable = &[("/heddle.internal.v1.NotifyService/", &["chat-svc"])];

/// Pushes, ready to be linked to. Cheap to clone.
#[derive(Clone)]
pub struct NotifyService {
    pipeline: Arc<Pipeline>,
    outbox: OutboxOptions,
    tasks: Tasks,
}

/// A file that is named cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log provider's.
    #[error("notify.log_file: {0}; name a file that this user may write, or none")]
    LogFile(io::Error),
    /// The authorities'.
    #[error("notify.ca_file: {0}; name a PEM file of certificates, or none")]
    CaFile(io::Error),
}

impl NotifyService {
    /// Opens the providers that are configured. Tasks are a child of `tasks`.
    pub async fn open(
        config: NotifyConfig,
        clock: SharedClock,
        tasks: &Tasks,
    ) -> Result<Self, OpenError> {
        let tasks = tasks.child("notify");
        let providers = providers::open(&config, &clock, &tasks).await?;
        Ok(Self::with_providers(config, providers, clock, tasks))
    }

    /// Over these providers. `tasks` are its own.
    pub fn with_providers(
        config: NotifyConfig,
        providers: Vec<(Kind, LaneConfig, Arc<dyn PushProvider>)>,
        clock: SharedClock,
        tasks: Tasks,
    ) -> Self {
        let mut entrances = HashMap::new();
        let mut lanes = Vec::new();
        for (kind, config, provider) in providers {
            let (lane, entrance) = Lane::new(config, provider, clock.clone());
            entrances.insert(kind, entrance);
            lanes.push(lane);
        }
        let pipeline = Arc::new(Pipeline::new(entrances, config.settled_max));
        for lane in lanes {
            let (told, asked) = (pipeline.clone(), pipeline.clone());
            let done = move |push: &_, outcome| told.done(push, outcome);
            let awaited = move |push: &_| asked.is_awaited(push);
            let stopping = tasks.stopping().clone();
            tasks.spawn("lane", lane.run(done, awaited, stopping));
        }
        Self {
            pipeline,
            outbox: config.outbox,
            tasks,
        }
    }

    /// The service, to be put behind a socket or a local link.
    pub fn routes(&self) -> Routes {
        Routes::new(NotifyServiceServer::new(self.clone()))
    }
}

#[tonic::async_trait]
impl NotifyRpc for NotifyService {
    type NotifyStream = Pin<Box<dyn Stream<Item = Result<NotifyResponse, Status>> + Send>>;

    async fn notify(
        &self,
        request: Request<Streaming<NotifyRequest>>,
    ) -> Result<Response<Self::NotifyStream>, Status> {
        let frame = |outcomes| Ok(NotifyResponse { outcomes });
        let (outbox, down) = outbox(self.outbox.clone(), frame);
        let stopping = self.tasks.stopping().clone();
        let reader = read(
            request.into_inner(),
            self.pipeline.clone(),
            outbox,
            stopping,
        );
        self.tasks.spawn_contained("shard reader", reader);
        Ok(Response::new(Box::pin(down)))
    }
}

/// Takes intents off a stream until it ends. Outcomes still to come go down it as long as its
/// shard listens.
async fn read(
    mut stream: Streaming<NotifyRequest>,
    pipeline: Arc<Pipeline>,
    outbox: Outbox<IntentOutcome>,
    stopping: CancellationToken,
) {
    loop {
        let frame = tokio::select! {
            frame = stream.message() => frame,
            () = stopping.cancelled() => return outbox.close(),
        };
        let Ok(Some(frame)) = frame else { return };
        for intent in frame.intents {
            pipeline.submit(intent, &outbox);
        }
        if outbox.is_closed() {
            return;
        }
    }
}

/// Serves pushes as a process of its own.
pub async fn start(context: Context<NotifyProcess>) -> Result<(), StartError> {
    let Context { config, tasks, .. } = context;
    let inside = Inside::load(&config.tls, config.listen, &tasks)?;
    let listener = TcpListener::bind(config.listen).await?;
    let service = NotifyService::open(config.notify, SystemClock::shared(), &tasks).await?;
    let (routes, health) = Health::add_to(service.routes(), &[SERVICE_NAME]).await;
    let routes = add_reflection(routes, &[ALL_DESCRIPTORS])?;
    let guarded = Guarded::only(routes, &config.layers, CALLERS);
    let address = serve(listener, inside.server, &config.serve, guarded, &tasks)?;
    health.serving(&[SERVICE_NAME]).await;
    tracing::info!(%address, "pushes serve chat nodes");
    Ok(())
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
