//! Web: lets browsers in: gRPC-Web over HTTP/1.1 or HTTP/2, and CORS.
//!
//! Stands in front of the guarded routes; gRPC itself passes untouched.
//!
//! Invariant: only the origins of the settings may read an answer.

use crate::config::WebOptions;
use http::{HeaderName, HeaderValue, Method};
use std::time::Duration;
use tonic_web::GrpcWebLayer;
use tower::layer::util::Stack;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

/// How long a browser may remember what it may do.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// What a browser may read besides the body.
const EXPOSED: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// The layer to put around the service that is served.
pub fn web_layer(options: &WebOptions) -> Stack<GrpcWebLayer, CorsLayer> {
    let listed = options
        .origins
        .iter()
        .filter_map(|origin| origin.parse::<HeaderValue>().ok());
    let origins = match options.origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(listed),
    };
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST])
        .allow_headers(Any)
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .max_age(PREFLIGHT_MAX_AGE);
    Stack::new(GrpcWebLayer::new(), cors)
}
