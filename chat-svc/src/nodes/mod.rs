//! Nodes: who shares the shards with this one, and what belongs to whom.
//!
//! `keeper` renews the lease and makes a [`Placement`] of what it hears; shards follow it. `peers`
//! are the streams to other nodes, `reach` says whether gateways still come, `turns` in which order
//! shards are given away, `announce` tells gateways what this node owns.
//!
//! Invariant: a placement is advice. A shard that two nodes believe to be theirs is written by one:
//! the one whose epoch is higher.

pub mod announce;
pub mod door;
pub mod keeper;
pub mod peers;
pub mod placement;
mod reach;
mod turns;
mod yields;

pub use announce::Announcements;
pub use keeper::{Keeper, Me};
pub use placement::{Placement, Target};

#[cfg(test)]
mod tests;
