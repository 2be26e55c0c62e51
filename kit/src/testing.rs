//! Testing: what the tests of several modules need. Not part of the library.
//!
//! Invariant: waits for conditions with a deadline, never for a time.

use std::time::Duration;

use tonic::Code;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::health::Health;
use crate::link::Link;

/// Held by tests that start telemetry: a process has one meter provider.
pub static TELEMETRY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How long a condition may take before a test gives up.
pub const SOON: Duration = Duration::from_secs(20);

/// The health service, which says that `name` is ready.
pub async fn routes(name: &str) -> Routes {
    let (routes, health) = Health::add_to(Routes::default()).await;
    health.serving(&[name]).await;
    routes
}

/// Whether `name` is ready, by one unary call.
pub async fn health_of(link: Link, name: &str) -> Result<bool, Code> {
    let request = HealthCheckRequest {
        service: name.into(),
    };
    let answer = HealthClient::new(link)
        .check(request)
        .await
        .map_err(|status| status.code())?;
    Ok(answer.into_inner().status == 1)
}

/// Waits until `condition` holds.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, waiting)
        .await
        .expect("the condition never held");
}
