//! `heddle serve`: everything in one process on the embedded store.

pub mod assemble;
