//! Tests of `serve`: good clients over every transport, hostile headers, and drains.

use super::*;
use crate::layers::{Guarded, LayerOptions};
use crate::link::{Link, LinkOptions};
use crate::testing::{self, SOON, health_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

async fn started(options: ServeOptions) -> (SocketAddr, Tasks) {
    let tasks = Tasks::new("test");
    let service = Guarded::new(testing::routes("named").await, &LayerOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = serve(listener, None, &options, service, &tasks).unwrap();
    (address, tasks)
}

fn link(address: SocketAddr) -> Link {
    Link::connect(&format!("http://{address}"), &LinkOptions::default(), None).unwrap()
}

#[tokio::test]
async fn a_good_client_is_served_beside_silent_ones() {
    let (address, tasks) = started(ServeOptions::default()).await;
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"PRI * HT").await.unwrap();
    let link = link(address);
    assert_eq!(health_of(link.clone(), "named").await, Ok(true));
    assert_eq!(health_of(link, "other").await, Err(Code::NotFound));
    tasks.drain(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn a_drain_ends_idle_connections_and_refuses_new_ones() {
    let (address, tasks) = started(ServeOptions::default()).await;
    let link = link(address);
    assert_eq!(health_of(link.clone(), "named").await, Ok(true));
    assert_eq!(tasks.drain(SOON).await, 0);
    assert_eq!(health_of(link, "named").await, Err(Code::Unavailable));
}

#[tokio::test]
async fn a_drain_cuts_off_streams_that_do_not_end() {
    let (address, tasks) = started(ServeOptions::default()).await;
    let mut client = HealthClient::new(link(address));
    let asked = HealthCheckRequest {
        service: "named".into(),
    };
    let mut watch = client.watch(asked).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    assert!(tasks.drain(Duration::from_millis(50)).await > 0);
    assert!(tasks.is_empty());
    assert!(timeout(SOON, watch.message()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_huge_header_list_is_refused() {
    let (address, tasks) = started(ServeOptions::default()).await;
    let mut client = HealthClient::new(link(address));
    let mut request = tonic::Request::new(HealthCheckRequest {
        service: "named".into(),
    });
    let huge = "x".repeat(HEADER_LIST_BYTES_MAX as usize);
    request.metadata_mut().insert("huge", huge.parse().unwrap());
    assert!(client.check(request).await.is_err());
    tasks.drain(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn http1_reaches_the_service_where_it_is_allowed() {
    let mut options = ServeOptions::default();
    options.accept.accept_http1 = true;
    let (address, tasks) = started(options).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = "POST /no.Such/Call HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, socket.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("grpc-status: 12"), "{answer}");
    tasks.drain(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn tonics_own_server_takes_the_connections_too() {
    let tasks = Tasks::new("test");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = Incoming::start(listener, &AcceptOptions::default(), None, &tasks);
    let stop = tasks.stopping().clone();
    let routes = testing::routes("named").await;
    let server = tonic::transport::Server::builder().add_routes(routes);
    let served =
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()));
    assert_eq!(health_of(link(address), "named").await, Ok(true));
    tasks.drain(SOON).await;
    timeout(SOON, served).await.unwrap().unwrap().unwrap();
}
