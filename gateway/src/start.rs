//! The gateway as a process of its own: sockets, health, and links to the other services.

use crate::{
    config::GatewayOptions,
    server::{Gateway, Links, SERVICES},
    web::web_layer,
};
use heddle_kit::{
    AnyOf, Guarded, LayerOptions, LinkOptions, ProcessOptions, ServeOptions, SystemClock, Tasks,
    health::Health,
    link::{check_urls, connect_urls},
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

/// What the settings call the certificates between services.
const LINK_TLS: &str = "link_tls";

impl ProcessConfig for GatewayProcess {
    fn process(&self) -> &ProcessOptions {
        &self.process
    }

    fn check(&self) -> Result<(), StartError> {
        check_urls("chat_urls", &self.chat_urls, &self.link_tls)?;
        check_urls("history_urls", &self.history_urls, &self.link_tls)?;
        check_urls("presence_urls", &self.presence_urls, &self.link_tls)?;
        tls::check("tls", &self.tls)?;
        tls::check(LINK_TLS, &self.link_tls)?;
        Ok(())
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
    let tls = tls::links(LINK_TLS, &config.link_tls, tasks)?;
    let (options, tls) = (&config.link, tls.as_ref());
    Ok(Links {
        shards: connect_urls("chat_urls", &config.chat_urls, options, tls)?,
        history: AnyOf::connect("history_urls", &config.history_urls, options, tls)?,
        presence: AnyOf::connect("presence_urls", &config.presence_urls, options, tls)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::{errors, v1::ErrorReason};
    use http::{Request, Response};
    use tonic::{Status, body::Body};
    use tonic_types::StatusExt;
    use tower::{BoxError, ServiceExt, service_fn};

    fn refused(field: &str, change: impl FnOnce(&mut GatewayProcess)) {
        let mut config = GatewayProcess::default();
        change(&mut config);
        let error = config.check().unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_field() {
        GatewayProcess::default().check().unwrap();
        refused("chat_urls: ", |it| it.chat_urls = Vec::new());
        refused("history_urls: ", |it| it.history_urls[0] = String::new());
        refused("presence_urls: ", |it| it.presence_urls[0] = "x".into());
        refused("tls.key ", |it| it.tls.certificate = Some("/a".into()));
        refused("link_tls.certificate ", |it| {
            it.link_tls.key = Some("/a".into())
        });
    }

    #[test]
    fn certificates_between_services_are_not_read_by_a_check() {
        let mut config = GatewayProcess {
            chat_urls: vec!["https://chat-svc:7448".into()],
            ..GatewayProcess::default()
        };
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("link_tls.ca"), "{error}");
        config.link_tls.ca = Some("/no/such.pem".into());
        config.check().unwrap();
    }

    async fn never(_: Request<Body>) -> Result<Response<Body>, BoxError> {
        std::future::pending().await
    }

    /// The reason and the domain that the layers give when no handler answers.
    async fn named(options: LayerOptions) -> (String, String) {
        let guarded = Guarded::new(service_fn(never), &options);
        let answer = guarded.oneshot(Request::new(Body::empty())).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        (info.reason.clone(), info.domain.clone())
    }

    #[tokio::test]
    async fn the_layers_name_reasons_as_the_protocol_does() {
        let full = LayerOptions {
            requests_in_flight_max: 0,
            ..LayerOptions::default()
        };
        let short = LayerOptions {
            deadline_max_ms: 10,
            ..LayerOptions::default()
        };
        for (options, reason) in [
            (full, ErrorReason::Overloaded),
            (short, ErrorReason::Deadline),
        ] {
            let (named, domain) = named(options).await;
            assert_eq!(named, errors::reason_name(reason));
            assert_eq!(domain, errors::ERROR_DOMAIN);
        }
    }
}
