//! A gateway's own message: it counts up while everything works, tells of a chat node that hangs,
//! and never takes the gateway out (docs/operations.md, `HeddleCanaryLost`).

use heddle_e2e::{World, cluster::Cluster, eventually, world::Failure};
use heddle_kit::telemetry::{Telemetry, TelemetryOptions};
use heddle_lab::process::free_port;
use heddle_plan::{Service, Size, loopback};
use std::{future::ready, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// What Prometheus reads at a gateway.
async fn metrics(address: SocketAddr) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let ask = "GET /metrics HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Messages so far: those that arrived, and the others.
fn counted(text: &str) -> Option<(u64, u64)> {
    let (mut arrived, mut lost) = (0, 0);
    for line in text.lines() {
        let Some(line) = line.strip_prefix("heddle_canary_messages_total{") else {
            continue;
        };
        let count = line.rsplit(' ').next()?.parse::<f64>().ok()? as u64;
        match line.contains("outcome=\"delivered\"") {
            true => arrived += count,
            false => lost += count,
        }
    }
    Some((arrived, lost))
}

async fn is_serving(url: String) -> Result<bool, Failure> {
    let service = "heddle.v1.MessagingService".into();
    let channel = Endpoint::from_shared(url)?.connect().await?;
    let mut health = HealthClient::new(channel);
    let answer = health.check(HealthCheckRequest { service }).await?;
    Ok(answer.into_inner().status() == ServingStatus::Serving)
}

/// In one process, and on the same conversation after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_before_and_after_a_restart() -> Result<(), Failure> {
    let telemetry = Telemetry::start("e2e", &TelemetryOptions::default())?;
    let mut world = World::start_with(|config| {
        config.gateway.canary_interval_ms = 200;
        config.gateway.public_url = Some("http://always.the.same".into());
    })
    .await?;
    let arrived = |wanted: u64| {
        let telemetry = &telemetry;
        async move {
            let ask = || {
                let counted = counted(&telemetry.prometheus_text());
                ready(counted.filter(|(arrived, _)| *arrived >= wanted))
            };
            eventually("messages arrive", ask).await
        }
    };
    let (before, lost) = arrived(3).await;
    assert_eq!(lost, 0);
    world.restart().await?;
    let (_, lost) = arrived(before + 3).await;
    assert_eq!(lost, 0);
    assert_eq!(world.drain().await, 0, "its task ends with the drain");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_node_that_hangs_is_told_and_does_not_take_the_gateway_out() -> Result<(), Failure> {
    let address = loopback(free_port()?);
    let often = |service: &Service| match service.binary {
        "gateway" => vec![
            "gateway.canary_interval_ms=200".to_owned(),
            "gateway.canary_timeout_ms=400".to_owned(),
            format!("process.metrics_address=\"{address}\""),
        ],
        _ => Vec::new(),
    };
    let size = Size {
        chat: 1,
        gateway: 1,
        ..Size::default()
    };
    let Some(cluster) = Cluster::start_with(size, often).await? else {
        return Ok(());
    };
    let url = cluster.target()?.url;
    let more = |what: &'static str, arrived: u64, lost: u64| async move {
        let ask = || async {
            let counted = counted(&metrics(address).await.ok()?)?;
            (counted.0 >= arrived && counted.1 >= lost).then_some(counted)
        };
        eventually(what, ask).await
    };
    let serves = || async { is_serving(url.clone()).await.ok()?.then_some(()) };
    eventually("the gateway is ready", serves).await;
    let (arrived, lost) = more("messages arrive", 3, 0).await;

    cluster.signal_node(0, "STOP").await?;
    let (_, lost) = more("messages are lost", arrived, lost + 3).await;
    assert!(
        is_serving(url.clone()).await?,
        "a lost message is no reason"
    );
    let age = metrics(address).await?;
    assert!(age.contains("heddle_canary_success_age_seconds"), "{age}");

    cluster.signal_node(0, "CONT").await?;
    let (arrived, _) = more("the node is back", arrived, lost).await;
    more("messages arrive again", arrived + 3, lost).await;
    assert!(is_serving(url).await?);
    Ok(())
}
