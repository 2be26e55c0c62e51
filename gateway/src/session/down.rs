//! Down: a session's frames as the stream that the transport polls.
//!
//! Polls the session's queue directly: no task and no channel stands between an owner's frame and
//! the device's.
//!
//! Invariant: when the transport drops the stream, for whatever reason, the session ends.

use super::Session;
use crate::edge::Edge;
use futures_util::Stream;
use heddle_proto::internal::{RawOpenSessionResponse, RawSubscribeResponse};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::Status;

/// The downward half of a session.
pub struct Down {
    edge: Arc<Edge>,
    session: Arc<Session>,
}

impl Down {
    /// The stream of a session's frames.
    pub fn new(edge: Arc<Edge>, session: Arc<Session>) -> Self {
        Self { edge, session }
    }
}

impl Stream for Down {
    type Item = Result<RawOpenSessionResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.session.lock().poll(context)
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        self.session.end(&self.edge, None, None);
    }
}

/// The same for Subscribe.
pub struct Subscription(pub Down);

impl Stream for Subscription {
    type Item = Result<RawSubscribeResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.0).poll_next(context);
        next.map_ok(|frame| RawSubscribeResponse { frame: Some(frame) })
    }
}
