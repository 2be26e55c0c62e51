//! Encrypt: the body of a Web Push, readable by the subscription's owner alone (RFC 8291 and 8188,
//! `aes128gcm`). Pure; randomness is an argument.

use hkdf::Hkdf;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::{PublicKey, SecretKey, ecdh::diffie_hellman};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::Sha256;

/// The size of a record; the whole body is one.
const RECORD_BYTES: u32 = 4_096;
/// Marks the last record.
const LAST: u8 = 2;

/// The subscription's key is none, or the body cannot be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the subscription's key is not a point of P-256, or the body is too long")]
pub struct EncryptError;

/// Encrypts `plain` for the owner of `p256dh` and `auth`. `own` and `salt` are used once.
pub fn encrypt(
    plain: &[u8],
    p256dh: &[u8],
    auth: &[u8],
    own: &SecretKey,
    salt: &[u8; 16],
) -> Result<Vec<u8>, EncryptError> {
    let theirs = PublicKey::from_sec1_bytes(p256dh).map_err(|_| EncryptError)?;
    let own_point = own.public_key().to_encoded_point(false);
    let shared = diffie_hellman(own.to_nonzero_scalar(), theirs.as_affine());

    let info = [b"WebPush: info\0", p256dh, own_point.as_bytes()].concat();
    let key_material: [u8; 32] = derive(auth, shared.raw_secret_bytes(), &info)?;
    let key: [u8; 16] = derive(salt, &key_material, b"Content-Encoding: aes128gcm\0")?;
    let nonce: [u8; 12] = derive(salt, &key_material, b"Content-Encoding: nonce\0")?;

    let mut sealed = plain.to_vec();
    sealed.push(LAST);
    let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| EncryptError)?;
    let nonce = Nonce::assume_unique_for_key(nonce);
    LessSafeKey::new(key)
        .seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed)
        .map_err(|_| EncryptError)?;
    if sealed.len() > RECORD_BYTES as usize {
        return Err(EncryptError);
    }
    let key_bytes = u8::try_from(own_point.len()).map_err(|_| EncryptError)?;
    let mut body = salt.to_vec();
    body.extend_from_slice(&RECORD_BYTES.to_be_bytes());
    body.push(key_bytes);
    body.extend_from_slice(own_point.as_bytes());
    body.append(&mut sealed);
    Ok(body)
}

fn derive<const N: usize>(salt: &[u8], key: &[u8], info: &[u8]) -> Result<[u8; N], EncryptError> {
    let mut out = [0; N];
    let derived = Hkdf::<Sha256>::new(Some(salt), key).expand(info, &mut out);
    derived.map(|()| out).map_err(|_| EncryptError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// The example of RFC 8291, section 5.
    #[test]
    fn the_example_of_the_rfc_is_met_to_the_byte() {
        let own = SecretKey::from_slice(&bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"));
        let body = encrypt(
            b"When I grow up, I want to be a watermelon",
            &bytes(concat!(
                "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6S",
                "RpkNtoIAiw4"
            )),
            &bytes("BTBZMqHH6r4Tts7J_aSIgg"),
            &own.unwrap(),
            &bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap(),
        );
        let expected = concat!(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLoc",
            "InmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLV",
            "WGNWQexSgSxsj_Qulcy4a-fN"
        );
        assert_eq!(body, Ok(bytes(expected)));
    }

    #[test]
    fn what_is_no_key_or_too_long_is_refused() {
        let own = SecretKey::from_slice(&[7; 32]).unwrap();
        let key = own.public_key().to_encoded_point(false);
        let no_point = [4; 65];
        assert!(encrypt(b"x", &no_point, &[1; 16], &own, &[0; 16]).is_err());
        let long = [0; RECORD_BYTES as usize];
        assert!(encrypt(&long, key.as_bytes(), &[1; 16], &own, &[0; 16]).is_err());
    }
}
