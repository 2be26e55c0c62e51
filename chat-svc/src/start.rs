//! The service as a process of its own: sockets, health, reflection.

use crate::{ChatService, config::ChatProcess, service::Cluster};
use heddle_kit::{
    AnyOf, Guarded, SystemClock,
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
    let history = AnyOf::connect(&config.history_urls, &config.link, None)?;
    let notify = AnyOf::connect(&config.notify_urls, &config.link, None)?;
    // Before the shards': what is born first is drained last, so gateways hear who has the shards
    // while their connections still live.
    let sockets = tasks.child("server");
    let listener = TcpListener::bind(config.listen).await?;
    let listening = listener.local_addr()?;
    let address = config.advertise_url;
    let cluster = Cluster {
        address: address.unwrap_or_else(|| format!("http://{listening}")),
        link: config.link,
    };
    let (clock, own) = (SystemClock::shared(), tasks.child("chat"));
    let service = ChatService::start_node(config.chat, cluster, history, notify, clock, own);
    let (routes, health) = Health::add_to(service.routes()).await;
    let routes = add_reflection(routes, &[heddle_proto::ALL_DESCRIPTORS])?;
    let guarded = Guarded::new(routes, &config.layers);
    let address = serve(listener, None, &config.serve, guarded, &sockets)?;
    health.serving(&[SERVICE]).await;
    tracing::info!(%address, "serving shards");
    Ok(())
}
