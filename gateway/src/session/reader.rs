//! Reader: the upward half of a session, one task.
//!
//! Takes each frame from the transport at once and hands it to `frames`.
//!
//! Invariant: it never stops reading while the session lives: what is too much is refused, since
//! unread frames would make HTTP/2 kill the connection.

use super::{Session, open::Hello};
use crate::{edge::Edge, validate::At};
use heddle_proto::{
    errors::Fault,
    internal::{RawOpenSessionRequest, raw_open_session_request::Frame},
    v1::{self, ErrorReason},
};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::timeout;
use tonic::{Status, Streaming, metadata::MetadataMap};

/// The method, as the audit names it.
const METHOD: &str = "heddle.v1.MessagingService/OpenSession";

/// Reads a session's frames from the hello to the end.
pub async fn read(
    edge: Arc<Edge>,
    session: Arc<Session>,
    metadata: MetadataMap,
    mut frames: Streaming<RawOpenSessionRequest>,
) {
    if let Err(fault) = hello(&edge, &session, metadata, &mut frames).await {
        return session.fail(&edge, fault);
    }
    let mut over = pin!(session.over.notified());
    loop {
        let frame = tokio::select! {
            frame = frames.message() => frame,
            () = &mut over => return,
        };
        match frame {
            Ok(Some(frame)) => session.frame(&edge, frame),
            Ok(None) => return session.finish(),
            Err(status) => return session.broken(&edge, status),
        }
    }
}

/// The first frame; it must come soon.
async fn hello(
    edge: &Arc<Edge>,
    session: &Arc<Session>,
    metadata: MetadataMap,
    frames: &mut Streaming<RawOpenSessionRequest>,
) -> Result<(), Fault> {
    let wait = Duration::from_millis(edge.options.hello_timeout_ms);
    let first = tokio::select! {
        first = timeout(wait, frames.message()) => first,
        () = session.over.notified() => return Ok(()),
    };
    let late = || {
        Fault::new(
            ErrorReason::Deadline,
            "no hello came in time; send it first",
        )
    };
    let first = first.map_err(|_| late())?;
    let broken = |_| Fault::field("hello", "the first frame is not an OpenSessionRequest");
    let Some(first) = first.map_err(broken)? else {
        return Err(out_of_order("the stream ended before the hello"));
    };
    let Some(Frame::Hello(hello)) = first.frame else {
        return Err(out_of_order("the first frame must be the hello"));
    };
    welcome(edge, session, &metadata, hello)
}

fn welcome(
    edge: &Arc<Edge>,
    session: &Arc<Session>,
    metadata: &MetadataMap,
    hello: v1::Hello,
) -> Result<(), Fault> {
    let identity = if hello.token.is_empty() {
        edge.auth.metadata(metadata, METHOD)?
    } else {
        edge.auth.acting(&hello.token, metadata, METHOD)?
    };
    let hello = Hello {
        device_id: hello.device_id,
        app_version: hello.app_version,
        resume: hello.resume,
        foreground: hello.foreground,
        mute: false,
        client_incarnation: hello.client_incarnation,
        client_attempt: hello.client_attempt,
    };
    hello.check(At("hello"))?;
    session.open(edge, &identity, hello)
}

/// Frames in an order that makes no sense.
pub fn out_of_order(text: &str) -> Fault {
    Fault::new(ErrorReason::OutOfOrder, text)
}

impl Session {
    /// The device sends no more: the session ends when all is answered.
    pub(super) fn finish(&self) {
        let waker = {
            let mut state = self.lock();
            state.finishing = true;
            state.waker()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The transport failed, or what came was no frame.
    fn broken(self: &Arc<Self>, edge: &Edge, status: Status) {
        tracing::debug!(code = ?status.code(), "a session's stream broke");
        let text = "the stream broke or held what is not an OpenSessionRequest; open a new one";
        self.fail(edge, Fault::field("frame", text));
    }
}
