//! Tests of `link`: the same calls over both ways, and a slot that is filled late.

use super::*;
use crate::serve::{ServeOptions, serve};
use crate::tasks::Tasks;
use crate::testing::{self, health_of};
use tokio::net::TcpListener;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::test]
async fn local_and_remote_answer_alike() {
    let tasks = Tasks::new("test");
    let service = Guarded::new(testing::routes("named").await, &LayerOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = serve(
        listener,
        None,
        &ServeOptions::default(),
        service.clone(),
        &tasks,
    )
    .unwrap();
    let remote = Link::connect(&format!("http://{address}"), &LinkOptions::default(), None);
    for link in [remote.unwrap(), Link::guarded(service)] {
        assert_eq!(health_of(link.clone(), "named").await, Ok(true));
        assert_eq!(
            health_of(link.clone(), "unknown").await,
            Err(Code::NotFound)
        );
        let mut client = HealthClient::new(link);
        let asked = HealthCheckRequest {
            service: "named".into(),
        };
        let mut watch = client.watch(asked).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    }
    tasks.drain(std::time::Duration::from_millis(100)).await;
}

#[tokio::test]
async fn a_slot_answers_unavailable_until_it_is_filled() {
    let slot = LocalSlot::default();
    let link = slot.link();
    assert_eq!(
        health_of(link.clone(), "named").await,
        Err(Code::Unavailable)
    );
    let service = Guarded::new(testing::routes("named").await, &LayerOptions::default());
    assert!(slot.fill(service.clone()));
    assert!(!slot.fill(service));
    assert_eq!(health_of(link, "named").await, Ok(true));
}

#[tokio::test]
async fn an_unreachable_peer_is_unavailable() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let link = Link::connect(&format!("http://{gone}"), &LinkOptions::default(), None).unwrap();
    assert_eq!(health_of(link, "named").await, Err(Code::Unavailable));
}

#[tokio::test]
async fn wrong_addresses_say_what_to_write() {
    for wrong in ["", "127.0.0.1:80", "ftp://host", "http://"] {
        let error = Link::connect(wrong, &LinkOptions::default(), None).unwrap_err();
        assert!(
            error.to_string().contains("http://host:port"),
            "{wrong:?}: {error}"
        );
    }
    let error = Link::connect("https://host", &LinkOptions::default(), None).unwrap_err();
    assert!(error.to_string().contains("tls.ca"), "{error}");
}

#[tokio::test]
async fn local_calls_come_from_a_local_peer() {
    let local = |request: &Request<Body>| request.extensions().get() == Some(&Peer::Local);
    assert_eq!(
        testing::probe(Link::local(Routes::new(testing::Probe(local)))).await,
        Code::Ok
    );
}
