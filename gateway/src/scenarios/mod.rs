//! Scenarios: a gateway as devices and services see it, over doubles.

mod calls;
mod canary;
mod delivery;
mod life;
mod owners;
mod rates;
mod requests;
mod stuck;
mod watching;
