//! Doubles: a gateway in a test, with scripted services behind it and a device in front.
//!
//! The services answer over real local links; the device speaks the public API. No sockets.
//!
//! Invariant: a wait has a deadline, and fails with what it waited for.

pub mod chat;
pub mod device;
pub mod presence;
pub mod store;

use crate::{Gateway, GatewayOptions, Links};
use chat::Chat;
use ed25519_dalek::{
    SigningKey,
    pkcs8::{EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding},
};
use heddle_kit::{Link, SharedClock, SystemClock, Tasks};
use heddle_proto::{
    ids::MessageId,
    internal::{
        presence_link_service_server::PresenceLinkServiceServer,
        shard_service_server::ShardServiceServer, store_service_server::StoreServiceServer,
    },
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use presence::Presence;
use serde_json::json;
use std::{future::Future, time::Duration};
use store::Store;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tonic::service::Routes;

/// How long anything may take.
pub const SOON: Duration = Duration::from_secs(10);

/// A gateway and everything around it.
pub struct World {
    pub gateway: Gateway,
    pub chat: Chat,
    /// A second chat node; it owns nothing until it says so.
    pub other: Chat,
    pub store: Store,
    pub presence: Presence,
    pub clock: SharedClock,
    pub tasks: Tasks,
    pub link: Link,
    key: SigningKey,
    _folder: TempDir,
}

impl World {
    /// A gateway with two shards, both on one of two nodes.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with other settings.
    pub async fn with(change: impl FnOnce(&mut GatewayOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::from_bytes(&[7; 32]);
        let path = folder.path().join("key.pem");
        let public = key
            .verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .unwrap();
        std::fs::write(&path, public).unwrap();
        let mut options = GatewayOptions::default();
        options.auth.key_file = Some(path);
        options.canary_interval_ms = 0;
        change(&mut options);
        let (chat, store, presence) = (Chat::default(), Store::default(), Presence::default());
        let other = Chat::default();
        other.own(&[]).await;
        let node = |chat: &Chat| Link::local(Routes::new(ShardServiceServer::new(chat.clone())));
        let links = Links {
            shards: vec![node(&chat), node(&other)],
            history: Link::local(Routes::new(StoreServiceServer::new(store.clone()))).into(),
            presence: Link::local(Routes::new(PresenceLinkServiceServer::new(
                presence.clone(),
            )))
            .into(),
        };
        let (clock, tasks) = (SystemClock::shared(), Tasks::new("test"));
        let gateway = Gateway::new(options, links, clock.clone(), &tasks.child("gateway")).unwrap();
        let link = Link::local(gateway.routes().unwrap());
        until("the shards are announced", || gateway.is_ready()).await;
        Self {
            gateway,
            chat,
            other,
            store,
            presence,
            clock,
            tasks,
            link,
            key,
            _folder: folder,
        }
    }

    /// A token of a user that lives so many seconds.
    pub fn token_for(&self, user: &str, seconds: u64, grants: serde_json::Value) -> String {
        let now = self.clock.now_ms() / 1000;
        let claims = json!({
            "sub": user, "iat": now, "exp": now + seconds, "aud": "heddle", "heddle": grants
        });
        let pem = self.key.to_pkcs8_pem(LineEnding::LF).unwrap();
        let key = EncodingKey::from_ed_pem(pem.as_bytes()).unwrap();
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).unwrap()
    }

    /// A token of a user.
    pub fn token(&self, user: &str) -> String {
        self.token_for(user, 3_600, json!({}))
    }

    /// A request in the name of a user.
    pub fn request<T>(&self, user: &str, body: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(body);
        let token = format!("Bearer {}", self.token(user)).parse().unwrap();
        request.metadata_mut().insert("authorization", token);
        request
    }

    /// A fresh client_message_id.
    pub fn message_id(&self) -> bytes::Bytes {
        MessageId::mint(self.clock.now_ms(), &rand::random()).to_bytes()
    }
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            // tidy: allow-sleep looks again at a condition, within a deadline
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// What comes soon.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("never came: {what}"))
}
