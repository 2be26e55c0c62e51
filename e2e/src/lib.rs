//! e2e: scenarios over real sockets, against a whole server.
//!
//! [`world`] starts servers and signs tokens, [`cluster`] starts processes; [`people`] are users
//! with devices, over the SDK; [`raw`] says what no SDK would, [`wire`] what a scenario spells out
//! frame by frame. [`stuck`] has something set aside; [`logs`] hears what the server says,
//! [`missing`] tells what the machine lacks.
//! The scenarios are in `tests/`.

pub mod cluster;
pub mod keys;
pub mod logs;
pub mod missing;
pub mod people;
pub mod pushes;
pub mod raw;
pub mod stuck;
pub mod wait;
pub mod wire;
pub mod world;

pub use people::Person;
pub use raw::Raw;
pub use wait::eventually;
pub use world::World;
