//! What breaks Heddle on purpose, and what is judged afterwards: `cargo xtask faults`.
//!
//! [`kill`] sends SIGKILL at random instants under the mixed workload. Invariant: a cycle counts
//! only when enough was acknowledged in it, and verdicts are the checker's alone.

pub mod kill;
