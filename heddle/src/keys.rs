//! The server's own signing key, and tokens minted from it.
//!
//! `serve` makes the key at its first start; `token` and clients on the same machine mint from it.
//! A product that has its own sign-in configures its public keys instead and needs none of this.
//!
//! Invariant: the private half is readable by its owner only.

use crate::failure::{Failure, Outcome};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The audience that the server expects, by default.
const AUDIENCE: &str = "heddle";

/// The private half.
pub fn private_path(data: &Path) -> PathBuf {
    data.join("signing-key.pem")
}

/// The public half, which the server checks tokens with.
pub fn public_path(data: &Path) -> PathBuf {
    data.join("signing-key.pub.pem")
}

/// Makes the key unless it is there; true when it was made now.
pub fn ensure(data: &Path) -> Outcome<bool> {
    let (private, public) = (private_path(data), public_path(data));
    if private.exists() && public.exists() {
        return Ok(false);
    }
    let key = SigningKey::from_bytes(&rand::random());
    let broken = |what: &dyn std::fmt::Display| Failure::new(format!("no signing key: {what}"));
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| broken(&e))?;
    let public_pem = key.verifying_key().to_public_key_pem(LineEnding::LF);
    let public_pem = public_pem.map_err(|e| broken(&e))?;
    write(&public, public_pem.as_bytes(), 0o644)?;
    write(&private, pem.as_bytes(), 0o600)?;
    Ok(true)
}

/// Whole or not at all, whatever happens on the way.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Outcome {
    let fresh = path.with_extension("new");
    let cannot = |error: std::io::Error| {
        Failure::new(format!("cannot write {}: {error}", path.display()))
            .hint("name a directory of yours with --data")
    };
    let _ = std::fs::remove_file(&fresh);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let written = options.open(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    });
    written.map_err(cannot)
}

/// What a token allows beyond being its user.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Grants {
    /// What admins of the deployment may.
    pub admin: bool,
    /// A service of the product's own: may act for users.
    pub service: bool,
    /// The only device that it is for; none: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    heddle: Grants,
}

/// Mints tokens from a data directory's key.
#[derive(Clone)]
pub struct Minter {
    key: EncodingKey,
}

impl Minter {
    /// Reads the key.
    pub fn open(data: &Path) -> Outcome<Self> {
        let path = private_path(data);
        let pem = std::fs::read(&path).map_err(|error| {
            Failure::new(format!(
                "cannot read the signing key {}: {error}",
                path.display()
            ))
            .hint(
                "`heddle serve` makes it at its first start; --data names another directory, \
                 and --token takes a token from elsewhere",
            )
        })?;
        let key = EncodingKey::from_ed_pem(&pem)
            .map_err(|error| Failure::new(format!("{} is no key: {error}", path.display())))?;
        Ok(Self { key })
    }

    /// A token of a user, valid from now for `ttl_s` seconds.
    pub fn mint(&self, user_id: &str, ttl_s: u64, heddle: Grants) -> Outcome<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.map_or(0, |since| since.as_secs());
        let claims = Claims {
            sub: user_id,
            aud: AUDIENCE,
            iat: now_s,
            exp: now_s.saturating_add(ttl_s),
            heddle,
        };
        let header = Header::new(Algorithm::EdDSA);
        jsonwebtoken::encode(&header, &claims, &self.key)
            .map_err(|error| Failure::new(format!("the token cannot be signed: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_and_is_its_owners() {
        let data = tempfile::tempdir().unwrap();
        assert!(ensure(data.path()).unwrap());
        let first = std::fs::read(private_path(data.path())).unwrap();
        assert!(!ensure(data.path()).unwrap());
        assert_eq!(std::fs::read(private_path(data.path())).unwrap(), first);
        let mode = std::fs::metadata(private_path(data.path())).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        let minter = Minter::open(data.path()).unwrap();
        let token = minter.mint("alice", 60, Grants::default()).unwrap();
        assert_eq!(token.split('.').count(), 3);
    }

    #[test]
    fn without_a_key_the_next_step_is_named() {
        let data = tempfile::tempdir().unwrap();
        let failure = Minter::open(data.path()).err().unwrap();
        let help = miette::Diagnostic::help(&failure).unwrap().to_string();
        assert!(help.contains("heddle serve"), "{help}");
    }
}
