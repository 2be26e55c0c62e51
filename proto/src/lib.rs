//! The wire of Heddle: generated types and services, ids, and errors.
//!
//! Everything else depends on this crate; it depends on nothing of Heddle. `v1` is what devices and
//! back ends see, `internal` what services say to each other, `edge` the device services again
//! with message content left as opaque bytes.
//!
//! Invariant: there is one shape of an event. `internal::RawEvent` and its like are the same bytes
//! on the wire as their public twins; a test in `twins` holds the tags together.

pub mod codec;
pub mod erasure;
pub mod errors;
pub mod fingerprint;
pub mod ids;
pub mod keys;
pub mod time;
#[cfg(test)]
mod twins;

/// The public API, `heddle.v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used
)]
pub mod v1 {
    tonic::include_proto!("heddle.v1");
}

/// What services say to each other, `heddle.internal.v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used
)]
pub mod internal {
    tonic::include_proto!("heddle.internal.v1");
}

/// The device services over opaque twins: the gateway's own view of `heddle.v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used
)]
pub mod edge {
    include!(concat!(env!("OUT_DIR"), "/edge/heddle.v1.rs"));
}

/// A `heddle.v1.Message` of which nothing is left but that it was erased (field 6, empty), as it is
/// stored: it stands in the place of an erased body.
pub const ERASED_MESSAGE: [u8; 2] = [0x32, 0x00];

/// Descriptors of the public API, for reflection.
pub const PUBLIC_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.bin"));

/// Descriptors of everything, for the services' own reflection.
pub const ALL_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/all.bin"));
