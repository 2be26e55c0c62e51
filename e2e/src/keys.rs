//! Keys and tokens of a test's own product.

use ed25519_dalek::{
    SigningKey,
    pkcs8::{EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::{
    error::Error,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// Signs tokens.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
}

/// Seconds since the Unix epoch.
pub fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Signer {
    /// A new key; its public half is written to `public_pem`.
    pub fn create(public_pem: &Path) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self::create_pair(public_pem)?.0)
    }

    /// The same, with the private half as PEM, for a tool that signs by itself.
    pub fn create_pair(public_pem: &Path) -> Result<(Self, String), Box<dyn Error + Send + Sync>> {
        let mut seed = [0; 32];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut random| std::io::Read::read_exact(&mut random, &mut seed))?;
        let key = SigningKey::from_bytes(&seed);
        std::fs::write(
            public_pem,
            key.verifying_key().to_public_key_pem(LineEnding::LF)?,
        )?;
        let private = key.to_pkcs8_pem(LineEnding::LF)?;
        let signer = Self {
            key: EncodingKey::from_ed_pem(private.as_bytes())?,
        };
        Ok((signer, private.to_string()))
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &self.key).unwrap_or_default()
    }

    /// A user's token for an hour, with what else it grants.
    pub fn token(&self, user_id: &str, grants: Value) -> String {
        let now_s = now_s();
        self.sign(&json!({
            "sub": user_id, "aud": "heddle", "iat": now_s, "exp": now_s + 3600, "heddle": grants,
        }))
    }
}
