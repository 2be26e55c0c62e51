//! The frames that go to the server, most urgent first.

use super::Core;
use crate::session::acks::Acks;
use heddle_proto::v1::{self, open_session_request::Frame};

/// A ping that is not answered within this time means that the connection is dead.
const PONG_TIMEOUT_MS: u64 = 15_000;

impl Core {
    /// The next frame to put on the wire, if any.
    pub(in crate::session) fn next_frame(&mut self, now_ms: u64) -> Option<v1::OpenSessionRequest> {
        if let Some(frame) = self.posts.pop_front() {
            return Some(frame);
        }
        if std::mem::take(&mut self.foreground_untold) {
            let request = v1::SetForegroundRequest {
                foreground: self.foreground,
                ..Default::default()
            };
            return Some(framed(0, Frame::Foreground(request)));
        }
        if self.acks.due_at_ms().is_some_and(|at| at <= now_ms) {
            self.taken(now_ms);
            if let Some(frame) = self.ack(|acks| acks.take_due(now_ms)) {
                return Some(frame);
            }
        }
        if let Some((conversation, read_seq)) = self.marks.next(self.request_id, now_ms) {
            let request = v1::MarkRequest {
                conversation_id: conversation.to_bytes(),
                read_seq,
            };
            return Some(framed(self.take_request_id(), Frame::Mark(request)));
        }
        if self.ping_at_ms.is_some_and(|at| at <= now_ms) {
            return Some(self.ping(now_ms));
        }
        let transmission = self.outbox.next(self.request_id, now_ms)?;
        self.take_request_id();
        let frame = Frame::Send(transmission.send);
        Some(framed(transmission.request_id, frame))
    }

    /// The last acknowledgement of a session that ends in peace.
    pub(in crate::session) fn last_ack(&mut self, now_ms: u64) -> Option<v1::OpenSessionRequest> {
        self.taken(now_ms);
        self.ack(Acks::take_all)
    }

    /// A fresh token is there.
    pub(in crate::session) fn authenticate(&mut self, token: String) {
        let request = v1::AuthenticateRequest {
            token,
            ..Default::default()
        };
        self.post(0, Frame::Authenticate(request));
    }

    fn ack(
        &mut self,
        take: impl FnOnce(&mut Acks) -> Option<u64>,
    ) -> Option<v1::OpenSessionRequest> {
        let position = take(&mut self.acks)?;
        self.taken.told(position);
        self.taken.wake_at(self.acks.full_at());
        let request = v1::AckRequest {
            position,
            ..Default::default()
        };
        Some(framed(0, Frame::Ack(request)))
    }

    fn ping(&mut self, now_ms: u64) -> v1::OpenSessionRequest {
        self.ping_id = self.take_request_id();
        self.pong_due_ms = Some(now_ms + PONG_TIMEOUT_MS);
        self.schedule_ping(now_ms);
        framed(self.ping_id, Frame::Ping(v1::PingRequest::default()))
    }
}

pub(super) fn framed(request_id: u64, frame: Frame) -> v1::OpenSessionRequest {
    v1::OpenSessionRequest {
        request_id,
        frame: Some(frame),
    }
}
