//! Tests of `health`: readiness as callers see it, and reflection in both versions.

use super::*;
use crate::link::Link;
use crate::testing::health_of;
use tonic::Code;
use tonic_reflection::pb;

#[tokio::test]
async fn services_are_ready_between_start_and_drain() {
    let (routes, health) = Health::add_to(Routes::default(), &["one", "two"]).await;
    let link = Link::local(routes);
    for name in ["", "one", "two"] {
        assert_eq!(health_of(link.clone(), name).await, Ok(false));
    }
    health.serving(&["one", "two"]).await;
    assert_eq!(health_of(link.clone(), "").await, Ok(true));
    health.set("one", false).await;
    assert_eq!(health_of(link.clone(), "one").await, Ok(false));
    assert_eq!(health_of(link.clone(), "two").await, Ok(true));
    health.not_serving().await;
    assert_eq!(health_of(link.clone(), "two").await, Ok(false));
    assert_eq!(health_of(link, "three").await, Err(Code::NotFound));
}

#[tokio::test]
async fn reflection_lists_services_and_knows_error_details() {
    use pb::v1::server_reflection_client::ServerReflectionClient;
    use pb::v1::server_reflection_request::MessageRequest;
    use pb::v1::{ServerReflectionRequest, server_reflection_response::MessageResponse};
    // The same set twice, as services that import each other's files have it.
    let set = tonic_health::pb::FILE_DESCRIPTOR_SET;
    let link = Link::local(add_reflection(Routes::default(), &[set, set]).unwrap());
    let mut client = ServerReflectionClient::new(link);
    let ask = |request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "google.rpc.ErrorInfo".into(),
        )),
    ];
    let stream = tokio_stream::iter(requests);
    let mut answers = client
        .server_reflection_info(stream)
        .await
        .unwrap()
        .into_inner();
    let first = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let MessageResponse::ListServicesResponse(list) = first else {
        panic!("{first:?}")
    };
    assert!(
        list.service
            .iter()
            .any(|service| service.name == "grpc.health.v1.Health")
    );
    let second = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    assert!(
        matches!(second, MessageResponse::FileDescriptorResponse(_)),
        "{second:?}"
    );
}

#[tokio::test]
async fn older_tools_are_answered_too() {
    use pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use pb::v1alpha::{ServerReflectionRequest, server_reflection_request::MessageRequest};
    let link = Link::local(add_reflection(Routes::default(), &[]).unwrap());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let stream = tokio_stream::iter([request]);
    let answers = ServerReflectionClient::new(link)
        .server_reflection_info(stream)
        .await
        .unwrap();
    assert!(answers.into_inner().message().await.unwrap().is_some());
}

#[test]
fn a_broken_descriptor_set_is_an_error() {
    assert!(add_reflection(Routes::default(), &[b"\xff\xff"]).is_err());
}
