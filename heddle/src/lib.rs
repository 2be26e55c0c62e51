//! heddle: the one binary for people.
//!
//! `serve` wires the five services in one process; every other command is a thin client of the
//! public API through `heddle-sdk`, or a way into `heddle-lab`.

mod chat;
pub mod cli;
mod commands;
mod connect;
mod failure;
pub mod keys;
mod paths;
pub mod serve;
