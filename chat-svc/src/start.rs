//! The service as a process of its own: sockets, health, reflection.

use crate::{ChatService, config::ChatProcess, service::Cluster};
use heddle_kit::{
    AnyOf, Guarded, SystemClock,
    health::{Health, add_reflection},
    layers::CallerTable,
    run::{Context, StartError},
    serve,
    tls::Inside,
};
use tokio::net::TcpListener;

/// The service's full name, for health.
pub const SERVICE: &str = "heddle.internal.v1.ShardService";
/// Who may call what.
const CALLERS: CallerTable = &[
    ("/heddle.internal.v1.ShardService/Edge", &["gateway"]),
    ("/heddle.internal.v1.ShardService/Peer", &["chat-svc"]),
];

/// Starts chat-svc as a process of its own.
pub async fn start(context: Context<ChatProcess>) -> Result<(), StartError> {
    let Context { config, tasks, .. } = context;
    let Inside { server, client } = Inside::load(&config.tls, config.listen, &tasks)?;
    let (link, tls) = (&config.link, client.as_ref());
    let history = AnyOf::connect("history_urls", &config.history_urls, link, tls)?;
    let notify = AnyOf::connect("notify_urls", &config.notify_urls, link, tls)?;
    // Before the shards': what is born first is drained last, so gateways hear who has the shards
    // while their connections still live.
    let sockets = tasks.child("server");
    let listener = TcpListener::bind(config.listen).await?;
    let listening = listener.local_addr()?;
    let address = config.advertise_url;
    let scheme = if server.is_some() { "https" } else { "http" };
    let serving = config.serve.as_soon_as(&config.link);
    let cluster = Cluster {
        address: address.unwrap_or_else(|| format!("{scheme}://{listening}")),
        link: config.link,
        tls: client,
    };
    let (clock, own) = (SystemClock::shared(), tasks.child("chat"));
    let chat = config.chat.of_a_cluster();
    let service = ChatService::start_node(chat, cluster, history, notify, clock, own);
    let (routes, health) = Health::add_to(service.routes(), &[SERVICE]).await;
    let routes = add_reflection(routes, &[heddle_proto::ALL_DESCRIPTORS])?;
    let guarded = Guarded::only(routes, &config.layers, CALLERS);
    let address = serve(listener, server, &serving, guarded, &sockets)?;
    service.join();
    service.watch_health(health, &tasks);
    tracing::info!(%address, "serving shards");
    Ok(())
}
