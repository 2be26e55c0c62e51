//! The gateway as a process of its own: sockets, health, and links to the other services.

use crate::{
    config::GatewayOptions,
    server::{Gateway, Links, SERVICES},
    web::web_layer,
};
use heddle_kit::{
    AnyOf, Guarded, LayerOptions, Link, LinkOptions, ProcessOptions, ServeOptions, SystemClock,
    Tasks,
    health::Health,
    run::{Context, ProcessConfig, StartError},
    serve,
    tls::{self, TlsOptions},
};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tower::Layer;

heddle_kit::config! {
    /// The gateway as a process of its own.
    pub struct GatewayProcess {
        /// Where clients connect.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7447)),
        /// Where chat-svc is: each node.
        pub chat_urls: Vec<String> = vec!["http://127.0.0.1:7448".into()],
        /// Where history-svc is: each process; one is used, another when it fails.
        pub history_urls: Vec<String> = vec!["http://127.0.0.1:7449".into()],
        /// Where presence-svc is: each process; one is used, another when it fails.
        pub presence_urls: Vec<String> = vec!["http://127.0.0.1:7450".into()],
    sections
        /// Sessions and the public API.
        pub gateway: GatewayOptions,
        /// The process around the service.
        pub process: ProcessOptions,
        /// How HTTP is spoken to clients.
        pub serve: ServeOptions,
        /// TLS towards clients.
        pub tls: TlsOptions,
        /// What stands in front of the handlers.
        pub layers: LayerOptions,
        /// How other services are reached.
        pub link: LinkOptions,
        /// Certificates between services: this gateway's own, and the authority of the others.
        pub link_tls: TlsOptions,
    }
}

impl ProcessConfig for GatewayProcess {
    fn process(&self) -> &ProcessOptions {
        &self.process
    }
}

/// Starts the gateway as a process of its own.
pub async fn start(context: Context<GatewayProcess>) -> Result<(), StartError> {
    let Context {
        mut config, tasks, ..
    } = context;
    config.layers.adopt_traces = false;
    config.serve.accept.accept_http1 = true;
    // Before the gateway's: what is born first is drained last, so sessions are sent away while
    // their connections still live.
    let sockets = tasks.child("server");
    let links = links(&config, &tasks)?;
    let clock = SystemClock::shared();
    let web = web_layer(&config.gateway.web);
    let gateway = Gateway::new(config.gateway, links, clock, &tasks.child("gateway"))?;
    let (routes, health) = Health::add_to(gateway.routes()?, &SERVICES).await;
    let service = web.layer(Guarded::new(routes, &config.layers));
    let tls = tls::outside(&config.tls, &tasks)?;
    let listener = TcpListener::bind(config.listen).await?;
    let address = serve(listener, tls, &config.serve, service, &sockets)?;
    gateway.watch_health(health, &tasks);
    tracing::info!(%address, "serving clients");
    Ok(())
}

fn links(config: &GatewayProcess, tasks: &Tasks) -> Result<Links, StartError> {
    let tls = tls::links(&config.link_tls, tasks)?;
    let connect = |url: &String| Link::connect(url, &config.link, tls.as_ref());
    Ok(Links {
        shards: config
            .chat_urls
            .iter()
            .map(connect)
            .collect::<Result<_, _>>()?,
        history: AnyOf::connect(&config.history_urls, &config.link, tls.as_ref())?,
        presence: AnyOf::connect(&config.presence_urls, &config.link, tls.as_ref())?,
    })
}
