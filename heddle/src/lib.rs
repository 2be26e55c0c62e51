//! heddle: the one binary for people.

pub mod serve;
