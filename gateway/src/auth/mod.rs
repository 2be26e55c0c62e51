//! Auth: who calls, by the product's own tokens.
//!
//! `claims` decides about a token's content (pure), `keys` about its signature. A token reaches us
//! in `authorization` metadata or in a session's hello. What a user may do is the owners' business.
//!
//! Invariant: nobody gets in by a key or an algorithm that is not configured, and each call that a
//! service makes in a user's name leaves a line under the target `audit`.

mod claims;
mod keys;

use claims::Expected;
use heddle_kit::{SharedClock, Tasks};
use heddle_proto::{
    errors::Fault,
    ids::{self, NAME_BYTES_MAX},
    v1::ErrorReason,
};
pub use keys::KeyError;
use keys::KeySet;
use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};
use tonic::metadata::MetadataMap;

heddle_kit::config! {
    /// Which tokens are taken.
    pub struct AuthOptions {
        /// Public key (PEM: Ed25519, P-256 or RSA) or key set (JWKS) that tokens are checked with;
        /// read again when it changes.
        pub key_file: Option<PathBuf> = None,
        /// A file with a shared secret for HS256 tokens; none refuses them.
        pub hs256_secret_file: Option<PathBuf> = None,
        /// What a token's `aud` must hold.
        pub audience: String = "heddle".to_owned(),
        /// What a token's `iss` must be; none: anything.
        pub issuer: Option<String> = None,
        /// How far clocks may be apart (milliseconds).
        pub leeway_ms: u64 = 5_000,
    }
}

/// How often the key file is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Metadata in which a service names the user it acts for.
const ACT_AS: &str = "heddle-act-as";
/// Metadata in which a unary caller may name its device.
const DEVICE_ID: &str = "heddle-device-id";

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user in whose name the call is made.
    pub user_id: String,
    /// The one device that the token is for, if it names one.
    pub device_id: Option<String>,
    /// The service that makes it, if it acts for the user.
    pub actor: Option<String>,
    /// May do what admins of the deployment may.
    pub admin: bool,
    /// A service of the product's own.
    pub service: bool,
    /// When the token was issued, in milliseconds since the Unix epoch.
    pub issued_time_ms: u64,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expire_time_ms: u64,
}

impl Identity {
    /// The device that a caller speaks for: the one that it names, or the one of its token.
    pub fn device_named(&self, named: String) -> Result<String, Fault> {
        match &self.device_id {
            None => Ok(named),
            Some(own) if named.is_empty() || named == *own => Ok(own.clone()),
            Some(_) => Err(invalid("the token is for another device (heddle.device)")),
        }
    }
}

/// Checks tokens.
pub struct Authenticator {
    keys: RwLock<Arc<KeySet>>,
    expected: Expected,
    options: AuthOptions,
    clock: SharedClock,
}

impl Authenticator {
    /// Reads the keys.
    pub fn load(options: &AuthOptions, clock: SharedClock) -> Result<Self, KeyError> {
        let expected = Expected {
            audience: options.audience.clone(),
            issuer: options.issuer.clone(),
            leeway_ms: options.leeway_ms,
        };
        let keys = RwLock::new(Arc::new(KeySet::load(options)?));
        Ok(Self {
            keys,
            expected,
            options: options.clone(),
            clock,
        })
    }

    /// Who a token says the caller is.
    pub fn token(&self, token: &str) -> Result<Identity, Fault> {
        let keys = self
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let claims = keys
            .verify(token)
            .map_err(|refusal| invalid(&refusal.to_string()))?;
        let identity = claims.into_identity(&self.expected, self.clock.now_ms());
        identity.map_err(|refusal| invalid(&refusal.to_string()))
    }

    /// Who a call's metadata says the caller is; `method` is for the audit.
    pub fn metadata(&self, metadata: &MetadataMap, method: &str) -> Result<Identity, Fault> {
        let token = bearer(metadata)
            .ok_or_else(|| invalid("send `authorization: Bearer <token>` metadata"))?;
        self.acting(token, metadata, method)
    }

    /// Who a token of a call with this metadata says the caller is.
    pub fn acting(
        &self,
        token: &str,
        metadata: &MetadataMap,
        method: &str,
    ) -> Result<Identity, Fault> {
        let mut identity = self.token(token)?;
        if let Some(user) = metadata.get(ACT_AS).and_then(|value| value.to_str().ok()) {
            if !identity.service {
                return Err(invalid(
                    "only tokens with heddle.service may act for a user",
                ));
            }
            name(ACT_AS, user)?;
            if ids::is_reserved(user) {
                return Err(Fault::field(ACT_AS, ids::RESERVED_TEXT));
            }
            let actor = std::mem::replace(&mut identity.user_id, user.to_owned());
            identity.actor.get_or_insert(actor);
        }
        if let Some(actor) = &identity.actor {
            tracing::info!(target: "audit", actor, user = identity.user_id, method, "acts for");
        }
        Ok(identity)
    }

    /// Reads the keys again when they change, until `tasks` drains.
    pub fn watch(self: &Arc<Self>, tasks: &Tasks) {
        let (stopping, auth) = (tasks.stopping().clone(), self.clone());
        tasks.spawn("token keys", async move {
            let mut seen = modified(&auth.options);
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(WATCH_INTERVAL) => {}
                }
                let looking = auth.clone();
                let look = move || looking.reload_if_changed(seen);
                if let Ok(now) = tokio::task::spawn_blocking(look).await {
                    seen = now;
                }
            }
        });
    }

    fn reload_if_changed(&self, seen: Stamps) -> Stamps {
        let now = modified(&self.options);
        if now == seen {
            return seen;
        }
        match KeySet::load(&self.options) {
            Ok(keys) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                tracing::info!("token keys were read again");
            }
            Err(error) => tracing::error!(%error, "keeping the old token keys"),
        }
        now
    }
}

/// When the files last changed.
type Stamps = [Option<SystemTime>; 2];

fn modified(options: &AuthOptions) -> Stamps {
    let stamp = |path: &Option<PathBuf>| {
        path.as_ref()
            .and_then(|path| std::fs::metadata(path).ok()?.modified().ok())
    };
    [stamp(&options.key_file), stamp(&options.hs256_secret_file)]
}

fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The device that a unary caller names, if it does.
pub fn device_id(metadata: &MetadataMap) -> Result<String, Fault> {
    let Some(value) = metadata.get(DEVICE_ID) else {
        return Ok(String::new());
    };
    let device = value.to_str().unwrap_or_default();
    name(DEVICE_ID, device)?;
    Ok(device.to_owned())
}

fn name(field: &str, value: &str) -> Result<(), Fault> {
    if value.is_empty() || value.len() > NAME_BYTES_MAX {
        return Err(Fault::field(
            field,
            format!("must have 1 to {NAME_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}

fn invalid(why: &str) -> Fault {
    Fault::new(ErrorReason::TokenInvalid, why.to_owned())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
