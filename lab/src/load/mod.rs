//! The load driver: one code for Heddle and for the relays that it is compared to.
//!
//! A [`Plan`] says who sends to whom and how fast, [`run()`] carries it out over any
//! [`ChatTransport`], a [`LoadReport`] says what came of it. A [`Watch`] looks at whatever serves
//! it. Knows no protocol.
//!
//! Invariant: a transport can't make itself look good. Ids, bodies, pacing, clocks and counting
//! are the driver's; latencies count from the instant at which a send was due (an open loop does
//! not slow down when the server does), and what never arrived is in the report.

mod pacer;
mod payload;
mod plan;
mod report;
mod run;
mod seat;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;

use bytes::Bytes;

pub use payload::PAYLOAD_BYTES_MIN;
pub use plan::{Pace, Plan, Seat, SeatPlan};
pub use report::LoadReport;
pub use run::{LoadError, Watch, connect_all, hold_idle, run, run_watched};

/// A way to chat: makes sessions.
pub trait ChatTransport: Clone + Send + Sync + 'static {
    /// A session.
    type Endpoint: Endpoint;

    /// Opens the seat's session. When it returns, whatever the others of the room send from then
    /// on reaches this session.
    fn connect(
        &self,
        seat: &Seat,
    ) -> impl Future<Output = Result<Self::Endpoint, TransportError>> + Send;
}

/// One user's open session. It acknowledges what it receives by itself, as a client would.
pub trait Endpoint: Send + 'static {
    /// Hands a message over; returns when it is queued. That it was stored comes as
    /// [`Happening::Stored`] with the same id. Ids count up from 0 in each session.
    fn send(
        &mut self,
        id: u64,
        body: Bytes,
    ) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// The next thing that happens. Must be cancel-safe. The body of a delivery is the sent one to
    /// the byte (it is ASCII); a user's own messages are not delivered.
    fn next(&mut self) -> impl Future<Output = Result<Happening, TransportError>> + Send;
}

/// What a session has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The server has the message for good.
    Stored {
        /// As given to `send`.
        id: u64,
    },
    /// The server does not take the message.
    Refused {
        /// As given to `send`.
        id: u64,
    },
    /// Somebody else's message.
    Delivered {
        /// What was sent.
        body: Bytes,
    },
}

/// A session that can't go on. Ends the run: a bench over broken sessions measures nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(String);

impl TransportError {
    /// With the cause in words.
    pub fn new(cause: impl fmt::Display) -> TransportError {
        TransportError(cause.to_string())
    }
}
