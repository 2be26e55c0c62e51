//! Health: the services that every server offers beside its own.
//!
//! gRPC health (for Kubernetes, load balancers and grpcurl) and reflection, in v1 for today's tools
//! and v1alpha for older ones.
//!
//! Invariant: reflection knows every message that an answer can hold, error details included.

use std::collections::BTreeSet;

use prost::Message;
use tokio::sync::Mutex;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::{Builder, Error};

/// Says which services are ready.
#[derive(Debug)]
pub struct Health {
    reporter: HealthReporter,
    /// Services ever reported, so that all can be withdrawn at once.
    known: Mutex<BTreeSet<String>>,
}

impl Health {
    /// Adds the health service to `routes`, which offer these services (full names). Neither they
    /// nor the server as a whole (the empty name) are ready until [`Health::serving`] has been
    /// called; whoever asks before hears so, and never that there is no such service.
    pub async fn add_to(routes: Routes, services: &[&str]) -> (Routes, Self) {
        let (reporter, service) = tonic_health::server::health_reporter();
        let health = Self {
            reporter,
            known: Mutex::default(),
        };
        health.tell(services, false).await;
        (routes.add_service(service), health)
    }

    /// The server and these of its services (full names) are ready.
    pub async fn serving(&self, services: &[&str]) {
        self.tell(services, true).await;
    }

    /// The server and these of its services are ready, or are no more.
    pub async fn tell(&self, services: &[&str], ready: bool) {
        for name in [""].iter().chain(services) {
            self.set(name, ready).await;
        }
    }

    /// One service is ready, or is no more, while the server as a whole is.
    pub async fn set(&self, service: &str, ready: bool) {
        let status = if ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.known.lock().await.insert(service.to_owned());
        self.reporter.set_service_status(service, status).await;
    }

    /// Nothing here is ready any more. Say it when a drain begins, so that no new calls come.
    pub async fn not_serving(&self) {
        for name in self.known.lock().await.iter() {
            self.reporter
                .set_service_status(name.as_str(), ServingStatus::NotServing)
                .await;
        }
    }
}

/// Adds reflection, v1 and v1alpha, over these encoded file descriptor sets. The standard error
/// details, the health service and both reflection services are always part of it, so that each
/// version tells of the other. Files that are in several sets are taken once.
pub fn add_reflection(routes: Routes, sets: &[&[u8]]) -> Result<Routes, Error> {
    let standard = [
        tonic_types::pb::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let merged = merge(sets.iter().copied().chain(standard))?;
    let v1 = Builder::configure()
        .register_encoded_file_descriptor_set(&merged)
        .include_reflection_service(false)
        .build_v1()?;
    let v1alpha = Builder::configure()
        .register_encoded_file_descriptor_set(&merged)
        .include_reflection_service(false)
        .build_v1alpha()?;
    Ok(routes.add_service(v1).add_service(v1alpha))
}

fn merge<'a>(sets: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, Error> {
    let mut seen = BTreeSet::new();
    let mut merged = prost_types::FileDescriptorSet::default();
    for set in sets {
        let set = prost_types::FileDescriptorSet::decode(set)?;
        merged.file.extend(
            set.file
                .into_iter()
                .filter(|file| seen.insert(file.name().to_owned())),
        );
    }
    Ok(merged.encode_to_vec())
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
