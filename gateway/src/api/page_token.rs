//! Page token: where a list goes on, opaque to clients.
//!
//! Pure. A token is bound to its list and its user; what does not fit is a fault, never a guess.
//!
//! Invariant: a token only says where to go on in the caller's own list, so it needs no secret.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use heddle_proto::{errors::Fault, fingerprint};

/// Which list a token belongs to.
#[derive(Clone, Copy, Debug)]
pub enum List {
    /// A user's conversations.
    Conversations = 1,
    /// A conversation's members.
    Members = 2,
    /// A day's dead letters.
    DeadLetters = 3,
    /// What was set aside.
    Stuck = 4,
}

const CHECK_BYTES: usize = 8;

fn check(list: List, owner: &[u8], place: &[u8]) -> [u8; CHECK_BYTES] {
    let bound = [&(owner.len() as u64).to_be_bytes()[..], owner, place].concat();
    fingerprint::opaque(list as u8, &bound).to_be_bytes()
}

/// The token of a place in the list of an owner (a user, a conversation).
pub fn encode(list: List, owner: &[u8], place: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([&check(list, owner, place)[..], place].concat())
}

/// The place that a token names; none for an empty token: the beginning.
pub fn decode(list: List, owner: &[u8], token: &str) -> Result<Option<Vec<u8>>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| {
        let (checked, place) = bytes.split_at_checked(CHECK_BYTES)?;
        (check(list, owner, place) == checked).then(|| place.to_vec())
    });
    let fault = || Fault::field("page_token", "is not of this list; begin without one");
    place.ok_or_else(fault).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_its_place() {
        let token = encode(List::Members, b"ann", b"place");
        assert_eq!(
            decode(List::Members, b"ann", &token),
            Ok(Some(b"place".to_vec()))
        );
        assert_eq!(decode(List::Members, b"ann", ""), Ok(None));
    }

    #[test]
    fn a_token_of_another_list_or_user_or_none_at_all_is_refused() {
        let token = encode(List::Members, b"ann", b"place");
        for (list, owner, token) in [
            (List::Conversations, &b"ann"[..], token.as_str()),
            (List::Members, b"bob", token.as_str()),
            (List::Members, b"ann", "AAAA"),
            (List::Members, b"ann", "not base64!"),
        ] {
            assert_eq!(decode(list, owner, token).unwrap_err().field, "page_token");
        }
    }
}
