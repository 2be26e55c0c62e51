//! Scenarios: a gateway as devices and services see it, over doubles.

mod calls;
mod canary;
mod delivery;
mod life;
mod owners;
mod rates;
mod requests;
mod stalled;
mod stuck;
mod watching;
