//! Erasures of late: a body that is still on its way as its message is erased does not arrive
//! (P10).
//!
//! A shard notes an erasure as it fans it out or as it comes in for its mailboxes, and looks here
//! before it passes an event on. What is read from the store is blank already.
//!
//! Invariant: bounded in time and number; what is forgotten is long delivered.

use super::Shard;
use bytes::Bytes;
use heddle_kit::FastMap;
use heddle_proto::{
    erasure,
    internal::{FanOut, FanOutEvent, PointerKind},
};
use std::{collections::VecDeque, sync::Arc};

/// How long an erasure is remembered, in milliseconds: longer than a fan-out may wait in a shard.
const REMEMBERED_MS: u64 = 60_000;
/// Erasures that are remembered; beyond it the oldest are forgotten.
const REMEMBERED_MAX: usize = 65_536;

type Target = ([u8; 16], u64);

/// Which messages were erased a moment ago.
#[derive(Default)]
pub(super) struct Erasures {
    targets: FastMap<Target, ()>,
    order: VecDeque<(u64, Target)>,
}

fn target(conversation_id: &[u8], seq: u64) -> Target {
    (conversation_id.try_into().unwrap_or_default(), seq)
}

impl Erasures {
    /// A message was erased.
    fn note(&mut self, conversation_id: &[u8], seq: u64, now_ms: u64) {
        let target = target(conversation_id, seq);
        if self.targets.insert(target, ()).is_none() {
            self.order.push_back((now_ms, target));
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.targets.remove(&oldest);
        }
    }

    /// Whether the message was erased a moment ago.
    pub fn is_erased(&self, conversation_id: &[u8], seq: u64) -> bool {
        self.targets.contains_key(&target(conversation_id, seq))
    }

    /// Forgets what is long delivered.
    pub fn forget(&mut self, now_ms: u64) {
        while let Some(&(noted_ms, oldest)) = self.order.front()
            && noted_ms + REMEMBERED_MS < now_ms
        {
            self.order.pop_front();
            self.targets.remove(&oldest);
        }
    }

    /// The event without its body, if that was erased since it was sent.
    pub fn blanked(
        &self,
        conversation_id: &[u8],
        (kind, seq): (PointerKind, u64),
        event: &Bytes,
    ) -> Option<Bytes> {
        if self.targets.is_empty() {
            return None;
        }
        let erased = |seq| self.is_erased(conversation_id, seq);
        // Messages are most of what comes by, and need no decoding to be told apart.
        if kind == PointerKind::Erase || (kind == PointerKind::Message && !erased(seq)) {
            return None;
        }
        erasure::blanked(event, |_, seq| erased(seq))
    }
}

impl Shard {
    /// Remembers what these events of a conversation erase.
    pub(super) fn note_erased(&mut self, conversation_id: &[u8], events: &[FanOutEvent]) {
        let now_ms = self.now_ms();
        for event in events {
            if event.kind() == PointerKind::Erase {
                self.erasures
                    .note(conversation_id, event.target_seq, now_ms);
            }
        }
    }

    /// Takes out of a fan-out that is sent again what was erased since.
    pub(super) fn blank_sent(&self, fan_out: &mut Arc<FanOut>) {
        if !self.erasures.targets.is_empty() {
            let fan_out = Arc::make_mut(fan_out);
            self.blank_erased(&fan_out.conversation_id, &mut fan_out.events);
        }
    }

    /// Takes out of events what was erased while they waited.
    pub(super) fn blank_erased(&self, conversation_id: &[u8], events: &mut [FanOutEvent]) {
        for event in events {
            let which = (event.kind(), event.seq);
            if let Some(blank) = self.erasures.blanked(conversation_id, which, &event.event) {
                event.event = blank;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::internal::{EditAppend, RawEvent, raw_event::Kind};
    use prost::Message as _;

    const TALK: [u8; 16] = [5; 16];

    fn event(seq: u64, kind: Kind) -> Bytes {
        let event = RawEvent {
            seq,
            kind: Some(kind),
            ..Default::default()
        };
        event.encode_to_vec().into()
    }

    fn edit(target_seq: u64) -> Bytes {
        let message = Bytes::from_static(b"\x0a\x04body");
        event(
            9,
            Kind::Edit(EditAppend {
                target_seq,
                message,
            }),
        )
    }

    #[test]
    fn only_what_was_erased_loses_its_body() {
        let mut erasures = Erasures::default();
        let message = event(3, Kind::Message(Bytes::from_static(b"\x0a\x04body")));
        let is_message = (PointerKind::Message, 3);
        assert_eq!(erasures.blanked(&TALK, is_message, &message), None);
        erasures.note(&TALK, 3, 0);
        let blank = erasure::blanked(&message, |_, seq| seq == 3);
        assert!(blank.is_some());
        assert_eq!(erasures.blanked(&TALK, is_message, &message), blank);
        assert_eq!(erasures.blanked(&[6; 16], is_message, &message), None);
        let other = (PointerKind::Other, 9);
        let blank = erasure::blanked(&edit(3), |_, seq| seq == 3);
        assert!(blank.is_some());
        assert_eq!(erasures.blanked(&TALK, other, &edit(3)), blank);
        assert_eq!(erasures.blanked(&TALK, other, &edit(4)), None);
    }

    #[test]
    fn what_is_long_delivered_is_forgotten() {
        let mut erasures = Erasures::default();
        for seq in 0..REMEMBERED_MAX as u64 + 2 {
            erasures.note(&TALK, seq, seq / 2);
        }
        assert_eq!(erasures.targets.len(), REMEMBERED_MAX);
        erasures.forget(REMEMBERED_MS + 101);
        assert_eq!(erasures.order.front(), Some(&(101, (TALK, 202))));
        assert_eq!(erasures.targets.len(), erasures.order.len());
    }
}
