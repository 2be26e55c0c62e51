//! Assemble: the five services in one process, each reached by the others over a local link.
//!
//! The same protobuf, the same layers and the same code as five processes on five machines; only
//! the links differ. `heddle serve` and the scenarios of `e2e` start a server with [`start`].
//!
//! Invariant: services are started before those that call them, so a drain, which goes the other
//! way, ends callers first and the store last; the sockets outlive the gateway.

use heddle_chat::{ChatConfig, ChatService};
use heddle_gateway::{Gateway, GatewayOptions, Links};
use heddle_history::{HistoryConfig, HistoryService, store::EventStore};
use heddle_kit::{
    Guarded, LayerOptions, Link, ProcessOptions, ServeOptions, SystemClock, Tasks,
    health::Health,
    run::{ProcessConfig, StartError},
    serve,
    tls::{self, TlsOptions},
};
use heddle_notify::{NotifyConfig, NotifyService};
use heddle_presence::{PresenceConfig, PresenceService};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use tower::Layer;

heddle_kit::config! {
    /// A whole chat server in one process.
    pub struct ServeConfig {
        /// Where devices, browsers and back ends connect.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7447)),
    sections
        /// The edge: sessions and the public API.
        pub gateway: GatewayOptions,
        /// Order and fan-out.
        pub chat: ChatConfig,
        /// The event store.
        pub history: HistoryConfig,
        /// Who is online.
        pub presence: PresenceConfig,
        /// Pushes to offline devices.
        pub notify: NotifyConfig,
        /// Certificate and key; none means plaintext.
        pub tls: TlsOptions,
        /// How HTTP is spoken to those who connect.
        pub serve: ServeOptions,
        /// What stands in front of the handlers.
        pub layers: LayerOptions,
        /// The process around it.
        pub process: ProcessOptions,
    }
}

impl ProcessConfig for ServeConfig {
    fn process(&self) -> &ProcessOptions {
        &self.process
    }
}

/// Starts all services as tasks below `tasks`; the address that it listens on.
pub async fn start(config: ServeConfig, tasks: &Tasks) -> Result<SocketAddr, StartError> {
    start_with(config, tasks, |store| store).await
}

/// The same on the store that `wrap` puts around the embedded one, so that a test can plant faults.
pub async fn start_with(
    mut config: ServeConfig,
    tasks: &Tasks,
    wrap: impl FnOnce(Arc<dyn EventStore>) -> Arc<dyn EventStore>,
) -> Result<SocketAddr, StartError> {
    // Bound first: an address that is taken must not cost a start of the store.
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        format!(
            "cannot listen on {}: {error}; choose another with --listen",
            config.listen
        )
    })?;
    config.chat.group_members_max = config.gateway.limits.group_members_max as usize;
    config
        .presence
        .data_dir
        .clone_from(&config.history.data_dir);
    let clock = SystemClock::shared();
    let inside = LayerOptions::default();
    let link = |routes| Link::guarded(Guarded::new(routes, &inside));

    let history = HistoryService::open_with(config.history, &tasks.child("history"), wrap).await?;
    let history = link(history.routes());
    let presence = PresenceService::open(config.presence, clock.clone(), tasks).await?;
    let notify = NotifyService::open(config.notify, clock.clone(), tasks).await?;
    let chat = ChatService::start(
        config.chat,
        history.clone(),
        link(notify.routes()),
        clock.clone(),
        tasks.child("chat"),
    );
    let links = Links {
        shards: vec![link(chat.routes())],
        history: history.into(),
        presence: link(presence.routes()).into(),
    };
    let web = heddle_gateway::web_layer(&config.gateway.web);
    // Born before the gateway, so drained after it: sessions are sent away while they still have
    // their connections.
    let sockets = tasks.child("server");
    let gateway = Gateway::new(config.gateway, links, clock, &tasks.child("gateway"))?;

    let (routes, health) = Health::add_to(gateway.routes()?, &heddle_gateway::SERVICES).await;
    config.layers.adopt_traces = false;
    config.serve.accept.accept_http1 = true;
    let service = web.layer(Guarded::new(routes, &config.layers));
    let tls = tls::outside(&config.tls, tasks)?;
    let address = serve(listener, tls, &config.serve, service, &sockets)?;
    health.serving(&heddle_gateway::SERVICES).await;
    Ok(address)
}
