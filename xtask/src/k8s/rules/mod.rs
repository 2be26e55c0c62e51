//! Rules: what must hold of an overlay beyond its schema. Each is a pure function of the manifests
//! (and of what the programs declare) and answers with what to mend.
//!
//! `pods` is about what runs, `settings` about what it is told, `network` about who reaches whom,
//! `watch` about metrics and alarms. `super` runs them all over each overlay.
//!
//! Invariant: each rule has a test that plants the mistake and sees it found.

pub mod network;
pub mod pods;
pub mod settings;
pub mod watch;

#[cfg(test)]
mod fixture;
