//! Tokens for as many users as a run needs, minted in this process.
//!
//! Invariant: tokens outlast the run, so that no session ends for want of one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

/// How long a token is valid.
const VALID_S: u64 = 24 * 3600;
/// What the gateway asks for in `aud`, by default.
const AUDIENCE: &str = "heddle";

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key can't be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The key is not one, or can't sign.
    #[error("no Ed25519 private key in PEM: {0}")]
    Key(#[from] jsonwebtoken::errors::Error),
}

/// Mints tokens for any user; cheap to clone.
#[derive(Clone)]
pub struct TokenMint {
    key: Arc<EncodingKey>,
    algorithm: Algorithm,
}

impl std::fmt::Debug for TokenMint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TokenMint").finish_non_exhaustive()
    }
}

impl TokenMint {
    /// Signs with a key such as `heddle serve` makes in its data directory.
    pub fn ed25519_pem(path: &Path) -> Result<TokenMint, TokenError> {
        let read = |error| TokenError::Read {
            path: path.to_owned(),
            error,
        };
        let key = EncodingKey::from_ed_pem(&fs::read(path).map_err(read)?)?;
        Ok(TokenMint {
            key: Arc::new(key),
            algorithm: Algorithm::EdDSA,
        })
    }

    /// Signs with a secret that the server was given (`gateway.auth.hs256_secret_file`).
    pub fn secret(secret: &[u8]) -> TokenMint {
        TokenMint {
            key: Arc::new(EncodingKey::from_secret(secret)),
            algorithm: Algorithm::HS256,
        }
    }

    /// A token of this user.
    pub fn mint(&self, user: &str) -> Result<String, TokenError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = since.map_or(0, |since| since.as_secs());
        let claims = json!({"sub": user, "iat": now_s, "exp": now_s + VALID_S, "aud": AUDIENCE});
        Ok(jsonwebtoken::encode(
            &Header::new(self.algorithm),
            &claims,
            &self.key,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_user_and_a_missing_key_its_file() {
        let token = TokenMint::secret(&[7; 32]).mint("ann").unwrap();
        assert_eq!(token.split('.').count(), 3);
        let error = TokenMint::ed25519_pem(Path::new("/nonexistent/key")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/key"));
    }
}
