//! The epoch-verified group commit of DESIGN section 5, checked exhaustively within bounds.
//!
//! `state` is what there is (replicas, what was sent, owners), `owner` what an owner does, `chain`
//! which rows a take-over accepts, `protocol` ties them into a stateright model and says what must
//! hold, `mistake` lists what may be planted. Names are those of `history-svc/src/cassandra`.
//! Invariant: with no mistake planted no property fails; docs/model.md has bounds and figures.

pub mod chain;
pub mod mistake;
pub mod owner;
pub mod protocol;
pub mod state;

pub use mistake::Mistake;
pub use protocol::{Bounds, Protocol};
