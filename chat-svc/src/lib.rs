//! chat-svc: order and fan-out.

pub mod cells;
pub mod conversation;
pub mod mailbox;
