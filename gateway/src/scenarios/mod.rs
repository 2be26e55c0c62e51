//! Scenarios: a gateway as devices and services see it, over doubles.

mod calls;
mod delivery;
mod life;
mod owners;
mod requests;
mod stuck;
mod watching;
