//! Endpoint: `GET /metrics` over HTTP/1, for Prometheus.
//!
//! On a listener of its own, which operators keep inside their network.
//!
//! Invariant: few connections, each with a deadline, so that it never weighs on the service.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Telemetry;
use crate::tasks::Tasks;

const CONNECTIONS_MAX: usize = 16;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves the metrics until `tasks` drains. Returns at once, with the address.
pub fn serve_metrics(
    listener: TcpListener,
    telemetry: Telemetry,
    tasks: &Tasks,
) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let serving = tasks.clone();
    tasks.spawn("metrics", async move {
        tokio::select! {
            () = accept(listener, telemetry, serving.clone()) => {}
            () = serving.stopping().cancelled() => {}
        }
    });
    Ok(address)
}

async fn accept(listener: TcpListener, telemetry: Telemetry, tasks: Tasks) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            sleep(ACCEPT_RETRY).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        let (telemetry, stopping) = (telemetry.clone(), tasks.stopping().child_token());
        tasks.spawn_contained("metrics connection", async move {
            tokio::select! {
                _ = timeout(CONNECTION_TIMEOUT, connection(socket, telemetry)) => {}
                () = stopping.cancelled() => {}
            }
            drop(place);
        });
    }
}

async fn connection(socket: TcpStream, telemetry: Telemetry) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &telemetry);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a metrics connection ended with an error");
    }
}

fn answer(request: &Request<Incoming>, telemetry: &Telemetry) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, telemetry.prometheus_text()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "use GET\n".into()),
        _ => (
            StatusCode::NOT_FOUND,
            "there is only /metrics here\n".into(),
        ),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let format = header::HeaderValue::from_static(TEXT_FORMAT);
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    response
}
