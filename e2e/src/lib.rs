//! e2e: scenarios over real sockets, against a whole server.
//!
//! [`world`] starts servers and signs tokens; [`people`] are users with devices, over the SDK. The
//! scenarios are in `tests/`.

pub mod keys;
pub mod people;
pub mod wait;
pub mod world;

pub use people::Person;
pub use wait::eventually;
pub use world::World;
