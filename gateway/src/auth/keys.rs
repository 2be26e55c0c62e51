//! Keys: which signatures are believed.
//!
//! Reads PEM and JWKS files; `claims` judges what a believed token says.
//!
//! Invariant: each key has one algorithm and verifies no other, so that a public key is never taken
//! for a shared secret.

use super::{AuthOptions, claims::Claims};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The fewest bytes of a shared secret: as many as HS256's hash has.
const SECRET_BYTES_MIN: usize = 32;
/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read.
    #[error("auth: {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not a key that we know.
    #[error("auth.key_file: {path}: holds no public key of Ed25519, P-256 or RSA, nor a JWKS")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A secret that can be guessed.
    #[error("auth.hs256_secret_file: {path}: needs at least {SECRET_BYTES_MIN} bytes")]
    Secret {
        /// The file.
        path: PathBuf,
    },
    /// Nobody could ever call.
    #[error("auth: no key is configured; set auth.key_file or auth.hs256_secret_file")]
    None,
}

/// Why a token's signature is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Not a token.
    #[error("the token is malformed")]
    Malformed,
    /// No key of ours has this algorithm and id.
    #[error("the token is signed by a key or an algorithm that is not configured here")]
    UnknownKey,
    /// The signature does not match, or a needed claim is missing.
    #[error("the token's signature does not hold, or sub or exp is missing")]
    Signature,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The keys of this deployment.
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// Reads the files that the settings name.
    pub fn load(options: &AuthOptions) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        if let Some(path) = &options.key_file {
            let bytes = read(path)?;
            keys = from_pem(&bytes).map_or_else(|| from_jwks(&bytes), |key| vec![key]);
            if keys.is_empty() {
                return Err(KeyError::Format { path: path.clone() });
            }
        }
        if let Some(path) = &options.hs256_secret_file {
            let secret = read(path)?;
            let secret = secret.trim_ascii();
            if secret.len() < SECRET_BYTES_MIN {
                return Err(KeyError::Secret { path: path.clone() });
            }
            let key = DecodingKey::from_secret(secret);
            keys.push(Key {
                id: None,
                algorithm: Algorithm::HS256,
                key,
            });
        }
        if keys.is_empty() {
            Err(KeyError::None)
        } else {
            Ok(Self(keys))
        }
    }

    /// The content of a token that one of the keys has signed.
    pub fn verify(&self, token: &str) -> Result<Claims, Untrusted> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Untrusted::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Untrusted::Malformed)?;
        let mut validation = Validation::new(header.alg);
        // Claims are checked by `claims`, which takes the time as an argument.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let fitting = self.0.iter().filter(|key| {
            let ids = (key.id.as_ref(), header.kid.as_ref());
            key.algorithm == header.alg && !matches!(ids, (Some(ours), Some(its)) if ours != its)
        });
        let mut refusal = Untrusted::UnknownKey;
        for key in fitting {
            match jsonwebtoken::decode(token, &key.key, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(_) => refusal = Untrusted::Signature,
            }
        }
        Err(refusal)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    fs::read(path).map_err(|error| KeyError::Read {
        path: path.to_owned(),
        error,
    })
}

fn from_pem(bytes: &[u8]) -> Option<Key> {
    let make = |algorithm, key| {
        Some(Key {
            id: None,
            algorithm,
            key,
        })
    };
    if let Ok(key) = DecodingKey::from_ed_pem(bytes) {
        return make(Algorithm::EdDSA, key);
    }
    if let Ok(key) = DecodingKey::from_ec_pem(bytes) {
        return make(Algorithm::ES256, key);
    }
    DecodingKey::from_rsa_pem(bytes)
        .ok()
        .and_then(|key| make(Algorithm::RS256, key))
}

fn from_jwks(bytes: &[u8]) -> Vec<Key> {
    let set: JwkSet = match serde_json::from_slice(bytes) {
        Ok(set) => set,
        Err(_) => return Vec::new(),
    };
    set.keys.iter().filter_map(from_jwk).collect()
}

/// A key of a set; one that we cannot use (a secret, a curve unknown) is passed over.
fn from_jwk(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithm,
        key,
    })
}
