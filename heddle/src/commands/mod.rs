//! The commands that are one call or one stream each.

pub mod certs;
pub mod check;
pub mod conversations;
pub mod history;
pub mod id;
pub mod lab;
pub mod presence;
pub mod push;
pub mod send;
pub mod show;
pub mod stuck;
pub mod tail;
pub mod token;
