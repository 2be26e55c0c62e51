//! The service as a process of its own: sockets, health, reflection.

use crate::{ChatService, config::ChatProcess};
use heddle_kit::{
    Guarded, Link, SystemClock,
    health::{Health, add_reflection},
    run::{Context, StartError},
    serve,
};
use tokio::net::TcpListener;

/// The service's full name, for health.
pub const SERVICE: &str = "heddle.internal.v1.ShardService";

/// Starts chat-svc as a process of its own.
pub async fn start(context: Context<ChatProcess>) -> Result<(), StartError> {
    let Context { config, tasks, .. } = context;
    let history = Link::connect(&config.history_url, &config.link, None)?;
    let notify = Link::connect(&config.notify_url, &config.link, None)?;
    let clock = SystemClock::shared();
    let service = ChatService::start(config.chat, history, notify, clock, tasks.child("chat"));
    let (routes, health) = Health::add_to(service.routes()).await;
    let routes = add_reflection(routes, &[heddle_proto::ALL_DESCRIPTORS])?;
    let guarded = Guarded::new(routes, &config.layers);
    let listener = TcpListener::bind(config.listen).await?;
    let address = serve(
        listener,
        None,
        &config.serve,
        guarded,
        &tasks.child("server"),
    )?;
    health.serving(&[SERVICE]).await;
    tracing::info!(%address, "serving shards");
    Ok(())
}
