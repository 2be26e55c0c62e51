//! Erasures: what was erased while deliveries wait in a session (P10).
//!
//! A page that was read from the store before an erasure, what is kept behind that read, and what a
//! slow device has not taken yet, all still have the body. The erasure itself comes live, behind
//! them, or at no position for who has left; `mod` notes it here, and `state` asks as a delivery
//! leaves.
//!
//! Invariant: nothing is remembered of a session in which nothing waits; what is read from then on
//! is blank in the store.

use bytes::Bytes;
use heddle_kit::FastMap;
use heddle_proto::{
    erasure,
    ids::LogId,
    internal::{Delivery, raw_open_session_response::Frame},
};

/// Erasures that one session remembers; one more ends it: the next session reads them blank.
const REMEMBERED_MAX: usize = 4_096;

/// Messages that were erased while something waited.
#[derive(Debug, Default)]
pub struct Erasures(FastMap<(LogId, u64), ()>);

impl Erasures {
    /// A live delivery tells of an erasure, or of something else. Whether there was room for it.
    #[must_use]
    pub fn note(&mut self, delivery: &Delivery) -> bool {
        if delivery.erased_seq == 0 {
            return true;
        }
        if let Some(conversation) = LogId::from_wire(&delivery.conversation_id) {
            self.0.insert((conversation, delivery.erased_seq), ());
        }
        self.0.len() <= REMEMBERED_MAX
    }

    /// A delivery leaves for the device, without what was erased of it meanwhile.
    pub fn blank(&self, frame: &mut Frame) {
        if self.0.is_empty() {
            return;
        }
        if let Frame::Event(delivery) = frame
            && let Some(blank) = self.blanked(&delivery.event)
        {
            delivery.event = blank;
        }
    }

    fn blanked(&self, event: &Bytes) -> Option<Bytes> {
        erasure::blanked(event, |conversation, seq| {
            let conversation = LogId::from_wire(conversation);
            conversation.is_some_and(|conversation| self.0.contains_key(&(conversation, seq)))
        })
    }

    /// Nothing waits any more.
    pub fn forget(&mut self) {
        if !self.0.is_empty() {
            self.0 = FastMap::default();
        }
    }
}
