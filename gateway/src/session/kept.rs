//! Kept: live deliveries that come while a session reads what is before them.
//!
//! The window says which are kept; when the read has ended, `catch_up` offers them anew. Without
//! this a session that gets more than one delivery in the time of a read would never leave the
//! store: each read would end behind what came meanwhile.
//!
//! Invariant: bounded by the window (`Verdict::Keep`), and empty unless a read is under way.

use super::window::{Offer, Verdict, Window};
use heddle_proto::internal::raw_open_session_response::Frame;

/// What is kept of one session, in order.
#[derive(Debug, Default)]
pub struct Kept(Vec<(Offer, Frame)>);

impl Kept {
    /// Keeps the next one.
    pub fn push(&mut self, offer: Offer, frame: Frame) {
        self.0.push((offer, frame));
    }

    /// The read has ended: what goes to the device now. The rest is read from the store, where it
    /// is too.
    pub fn release(&mut self, window: &mut Window) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (offer, frame) in std::mem::take(&mut self.0) {
            match window.offer(&offer) {
                Verdict::Take { .. } => frames.push(frame),
                Verdict::Known => {}
                Verdict::Keep | Verdict::Behind => break,
            }
        }
        frames
    }
}
