//! What measures Heddle and what breaks it: replays, workloads, the history checker, bare relays.
//!
//! Used by `heddle replay | bench | check` and by `xtask faults`. Everything here is a client of
//! the public API or knows no protocol at all; nothing here is part of a server.
//!
//! Invariant: what judges ([`checker`]) is pure and shares no code with what is judged.

pub mod bench;
pub mod checker;
pub mod cli;
pub mod faults;
pub mod irc;
pub mod load;
pub mod measure;
pub mod process;
pub mod profile;
pub mod progress;
pub mod provider;
pub mod relay;
pub mod replay;

pub mod target;
pub mod workload;
