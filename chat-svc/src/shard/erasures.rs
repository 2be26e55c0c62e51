//! Erasures of late: a body that is still on its way as its message is erased does not arrive
//! (P10).
//!
//! A shard notes an erasure as it fans it out or as it comes in for its mailboxes, and looks here
//! before it passes an event on. What is read from the store is blank already.
//!
//! Invariant: bounded in time and number; what is forgotten is long delivered.

use super::{Shard, edges::Gathering};
use crate::mailbox::hole;
use bytes::Bytes;
use heddle_kit::FastMap;
use heddle_proto::{
    erasure,
    internal::{Delivery, FanOut, FanOutEvent, PointerKind, Recipient},
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

    /// Sessions of members no more, who are not due an erasure but were due what it erases: what
    /// still waits for them in a gateway, a page or behind one, goes without it. They hear of it
    /// below all positions, so that they are given nothing and nothing is stored for them.
    pub(super) fn tell_former_readers(&self, fan_out: &FanOut) {
        let mut gathering = Gathering::default();
        let erasures = |event: &&FanOutEvent| event.kind() == PointerKind::Erase;
        for event in fan_out.events.iter().filter(erasures) {
            let over = |member: &&Recipient| hole::is_over(member, event.seq);
            for former in fan_out.recipients.iter().filter(over) {
                let of_user = self.sessions.get(former.user_id.as_str());
                for session in of_user.iter().flat_map(|of_user| &of_user.sessions) {
                    let delivery = Delivery {
                        session_ids: vec![session.session_id],
                        conversation_id: fan_out.conversation_id.clone(),
                        erased_seq: event.target_seq,
                        ..Default::default()
                    };
                    gathering.delivery(&session.edge, delivery, &Bytes::new());
                }
            }
        }
        gathering.send();
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
    use crate::shard::{
        bare::{comes, event_for_bob, taken_shard},
        edges::Edge,
        mailboxes::{Session, SessionsOf},
    };
    use futures_util::{FutureExt as _, StreamExt as _};
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

    /// Else a body that waits in a gateway for somebody who left would go out after the OK.
    #[tokio::test]
    async fn who_left_hears_of_an_erasure_and_is_given_nothing() {
        let mut shard = taken_shard();
        let (edge, mut frames) = Edge::new(1);
        let session = Session {
            edge,
            session_id: 9,
            device_id: "phone".into(),
            foreground: true,
            client: (1, 1),
        };
        let of_bob = SessionsOf {
            sessions: vec![session],
            told: [0; 2],
        };
        shard.sessions.insert("bob".into(), of_bob);
        let mut erasure = event_for_bob(FanOutEvent {
            seq: 7,
            kind: PointerKind::Erase.into(),
            target_seq: 3,
            ..Default::default()
        });
        erasure.recipients[0].until_seq = 5;
        comes(&mut shard, erasure);
        let frame = frames.next().now_or_never().flatten().unwrap();
        let told = &frame.deliveries[0];
        assert_eq!((told.position, told.erased_seq), (0, 3));
        assert_eq!(told.conversation_id, TALK.to_vec());
        assert_eq!(told.session_ids, [9]);
        assert!(shard.mailboxes.is_empty(), "no mailbox is loaded for it");
        assert_eq!(shard.batch.pieces.len(), 1, "it is acknowledged");
    }
}
