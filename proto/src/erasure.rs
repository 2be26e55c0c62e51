//! Erasure: an event that was on its way as its message was erased loses its body (P10).
//!
//! chat-svc blanks what waits in its shards, the gateway what waits in its sessions; what the
//! store returns is blank already. Who remembers what was erased is theirs.
//!
//! Invariant: a blanked event is the stored one as any later reader sees it: kind, seq and order
//! stay, nothing of the content does.

use crate::{
    ERASED_MESSAGE,
    internal::{EditAppend, RawEvent, raw_event::Kind},
    v1,
};
use bytes::Bytes;
use prost::Message as _;

/// The event without the body that was erased; `None`: nothing of it was. `is_erased` is asked with
/// a conversation's id and the seq of one of its messages.
pub fn blanked(event: &Bytes, is_erased: impl Fn(&[u8], u64) -> bool) -> Option<Bytes> {
    let mut raw = RawEvent::decode(event.clone()).ok()?;
    raw.kind = match raw.kind? {
        Kind::Message(_) if is_erased(&raw.conversation_id, raw.seq) => {
            let overlay = v1::EventOverlay {
                erased: true,
                ..Default::default()
            };
            raw.overlay = overlay.encode_to_vec().into();
            Some(Kind::Message(Bytes::from_static(&ERASED_MESSAGE)))
        }
        Kind::Edit(edit) if is_erased(&raw.conversation_id, edit.target_seq) => {
            Some(Kind::Edit(EditAppend {
                message: Bytes::from_static(&ERASED_MESSAGE),
                ..edit
            }))
        }
        _ => return None,
    };
    Some(raw.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::message::Content;

    const TALK: [u8; 16] = [5; 16];

    fn event(seq: u64, kind: Kind) -> Bytes {
        let event = RawEvent {
            conversation_id: Bytes::from_static(&TALK),
            seq,
            kind: Some(kind),
            ..Default::default()
        };
        event.encode_to_vec().into()
    }

    fn body() -> Bytes {
        Bytes::from_static(b"\x0a\x04body")
    }

    fn third(conversation_id: &[u8], seq: u64) -> bool {
        (conversation_id, seq) == (&TALK, 3)
    }

    #[test]
    fn a_message_is_left_as_erased() {
        let blank = blanked(&event(3, Kind::Message(body())), third).unwrap();
        let event = v1::Event::decode(blank).unwrap();
        assert!(event.overlay.is_some_and(|overlay| overlay.erased));
        assert_eq!((event.seq, &*event.conversation_id), (3, &TALK[..]));
        let Some(v1::event::Kind::Message(left)) = event.kind else {
            panic!("{:?}", event.kind)
        };
        assert_eq!(left.content, Some(Content::Erased(v1::Erased {})));
    }

    #[test]
    fn an_edit_of_an_erased_message_keeps_nothing_of_it() {
        let edit = |target_seq| {
            let message = body();
            Kind::Edit(EditAppend {
                target_seq,
                message,
            })
        };
        let blank = blanked(&event(9, edit(3)), third).unwrap();
        assert!(!blank.windows(4).any(|part| part == b"body"));
        assert_eq!(blanked(&event(9, edit(4)), third), None);
        assert_eq!(blanked(&event(4, Kind::Message(body())), third), None);
    }
}
