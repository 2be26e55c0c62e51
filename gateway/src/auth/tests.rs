//! Tests of whose signatures are believed.

use super::*;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{
    SigningKey,
    pkcs8::{EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding},
};
use heddle_kit::ManualClock;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::{fs, path::Path};
use tempfile::TempDir;

const NOW_MS: u64 = 1_800_000_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn claims() -> Value {
    let now = NOW_MS / 1000;
    json!({"sub": "ann", "exp": now + 60, "iat": now, "aud": "heddle"})
}

struct Fixture {
    folder: TempDir,
    key: SigningKey,
    auth: Arc<Authenticator>,
}

fn write_key(path: &Path, key: &SigningKey) {
    fs::write(
        path,
        key.verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .unwrap(),
    )
    .unwrap();
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::from_bytes(&[7; 32]);
    let path = folder.path().join("key.pem");
    write_key(&path, &key);
    let options = AuthOptions {
        key_file: Some(path),
        ..Default::default()
    };
    let auth = Arc::new(Authenticator::load(&options, ManualClock::at(NOW_MS)).unwrap());
    Fixture { folder, key, auth }
}

fn sign(key: &SigningKey, claims: &Value, kid: Option<&str>) -> String {
    let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
    let header = Header {
        kid: kid.map(str::to_owned),
        ..Header::new(Algorithm::EdDSA)
    };
    let key = EncodingKey::from_ed_pem(pem.as_bytes()).unwrap();
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

fn refused(auth: &Authenticator, token: &str) {
    assert_eq!(
        auth.token(token).unwrap_err().reason,
        ErrorReason::TokenInvalid,
        "{token}"
    );
}

#[test]
fn a_token_of_the_configured_key_is_believed() {
    let Fixture {
        key,
        auth,
        folder: _folder,
    } = fixture();
    assert_eq!(
        auth.token(&sign(&key, &claims(), None)).unwrap().user_id,
        "ann"
    );
    refused(
        &auth,
        &sign(&SigningKey::from_bytes(&[8; 32]), &claims(), None),
    );
    refused(&auth, "");
    refused(&auth, "a.b.c");
    refused(&auth, &"x".repeat(100_000));
}

#[test]
fn a_changed_token_is_not_believed() {
    let Fixture {
        key,
        auth,
        folder: _folder,
    } = fixture();
    let token = sign(&key, &claims(), None);
    let (head, rest) = token.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let mut other = claims();
    other["sub"] = "bob".into();
    let other = URL_SAFE_NO_PAD.encode(other.to_string());
    refused(&auth, &format!("{head}.{other}.{signature}"));
}

#[test]
fn no_algorithm_is_no_signature() {
    let Fixture {
        auth,
        folder: _folder,
        ..
    } = fixture();
    for algorithm in ["none", "None", "NONE", ""] {
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": algorithm, "typ": "JWT"}).to_string());
        let body = URL_SAFE_NO_PAD.encode(claims().to_string());
        refused(&auth, &format!("{head}.{body}."));
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let Fixture { auth, folder, .. } = fixture();
    let public = fs::read(folder.path().join("key.pem")).unwrap();
    for secret in [public.as_slice(), public.trim_ascii(), SECRET] {
        let key = EncodingKey::from_secret(secret);
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &key).unwrap();
        refused(&auth, &token);
    }
}

#[test]
fn a_shared_secret_is_believed_only_where_configured_and_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let options = AuthOptions {
        hs256_secret_file: Some(path.clone()),
        ..Default::default()
    };
    fs::write(&path, SECRET).unwrap();
    let auth = Authenticator::load(&options, ManualClock::at(NOW_MS)).unwrap();
    let sign = |algorithm| {
        let key = EncodingKey::from_secret(SECRET);
        jsonwebtoken::encode(&Header::new(algorithm), &claims(), &key).unwrap()
    };
    assert!(auth.token(&sign(Algorithm::HS256)).is_ok());
    refused(&auth, &sign(Algorithm::HS512));
    fs::write(&path, "short").unwrap();
    let refused = Authenticator::load(&options, ManualClock::at(NOW_MS));
    assert!(matches!(refused.err(), Some(KeyError::Secret { .. })));
}

#[test]
fn a_key_set_tells_keys_apart_by_id() {
    let (one, two) = (
        SigningKey::from_bytes(&[1; 32]),
        SigningKey::from_bytes(&[2; 32]),
    );
    let jwk = |id: &str, key: &SigningKey| {
        let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
    };
    let secret = json!({"kty": "oct", "kid": "three", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    let set = json!({"keys": [jwk("one", &one), jwk("two", &two), secret]});
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    fs::write(&path, set.to_string()).unwrap();
    let options = AuthOptions {
        key_file: Some(path),
        ..Default::default()
    };
    let auth = Authenticator::load(&options, ManualClock::at(NOW_MS)).unwrap();
    assert!(auth.token(&sign(&one, &claims(), Some("one"))).is_ok());
    assert!(auth.token(&sign(&two, &claims(), Some("two"))).is_ok());
    assert!(auth.token(&sign(&two, &claims(), None)).is_ok());
    refused(&auth, &sign(&one, &claims(), Some("two")));
    let header = Header {
        kid: Some("three".into()),
        ..Header::new(Algorithm::HS256)
    };
    let key = EncodingKey::from_secret(SECRET);
    refused(
        &auth,
        &jsonwebtoken::encode(&header, &claims(), &key).unwrap(),
    );
}

#[test]
fn a_changed_key_file_is_read_again() {
    let Fixture { key, auth, folder } = fixture();
    let next = SigningKey::from_bytes(&[9; 32]);
    let path = folder.path().join("key.pem");
    fs::write(&path, "rubbish").unwrap();
    auth.reload_if_changed([None, None]);
    assert!(
        auth.token(&sign(&key, &claims(), None)).is_ok(),
        "the old key stays"
    );
    write_key(&path, &next);
    auth.reload_if_changed([None, None]);
    assert!(auth.token(&sign(&next, &claims(), None)).is_ok());
    refused(&auth, &sign(&key, &claims(), None));
}

#[test]
fn only_services_act_for_users() {
    let Fixture {
        key,
        auth,
        folder: _folder,
    } = fixture();
    let mut metadata = MetadataMap::new();
    metadata.insert("heddle-act-as", "bob".parse().unwrap());
    let call = |claims: &Value, metadata: &MetadataMap| {
        let mut metadata = metadata.clone();
        let token = format!("Bearer {}", sign(&key, claims, None));
        metadata.insert("authorization", token.parse().unwrap());
        auth.metadata(&metadata, "test")
    };
    assert!(call(&claims(), &metadata).is_err());
    let mut service = claims();
    service["heddle"] = json!({"service": true});
    let identity = call(&service, &metadata).unwrap();
    assert_eq!(
        (identity.user_id.as_str(), identity.actor.as_deref()),
        ("bob", Some("ann"))
    );
    assert_eq!(call(&service, &MetadataMap::new()).unwrap().actor, None);
    let mut reserved = MetadataMap::new();
    reserved.insert("heddle-act-as", "heddle:canary:1:to".parse().unwrap());
    assert_eq!(
        call(&service, &reserved).unwrap_err().field,
        "heddle-act-as"
    );
    assert!(auth.metadata(&MetadataMap::new(), "test").is_err());
}
