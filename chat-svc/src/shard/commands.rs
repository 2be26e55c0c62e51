//! Commands: what gateways ask goes to the conversation or the mailbox that decides about it.
//!
//! [`Shard::run`] takes them in; `conversations` and `mailbox_commands` decide, `room` keeps those
//! that come while the batch is full.
//!
//! Invariant: commands of one gateway are decided in the order in which they came.

use super::{Shard, conversations, edges::Edge, input::EdgeInput, owner_changing};
use heddle_proto::{
    errors::Fault,
    internal::{Command, command::Op},
};
use std::sync::Arc;

impl Shard {
    /// Something comes from a gateway.
    pub(super) fn on_edge(&mut self, input: EdgeInput) {
        self.turn_ms = self.around.clock.now_ms();
        match input {
            EdgeInput::Commands(edge, commands) => {
                for command in commands {
                    self.on_command(&edge, command);
                }
            }
            EdgeInput::Gone(edge_id) => self.forget_edge(edge_id),
        }
    }

    pub(super) fn on_command(&mut self, edge: &Arc<Edge>, command: Command) {
        if !self.serves() {
            self.turn_away(edge, command, &owner_changing());
        } else if self.batch.is_full() || !self.room.is_empty() {
            self.room.push(edge, Box::new(command));
        } else {
            self.take_command(edge, Box::new(command));
        }
    }

    /// There is room for it.
    pub(super) fn take_command(&mut self, edge: &Arc<Edge>, command: Box<Command>) {
        match &command.op {
            Some(op) if conversations::decides(op) => {
                self.conversation_command(edge, command);
            }
            Some(Op::Detach(detach)) => {
                let (session_id, device_id) = (detach.session_id, command.device_id);
                self.detach(edge.id, &command.user_id, session_id, &device_id);
            }
            Some(Op::Foreground(change)) => {
                self.set_foreground(edge.id, &command.user_id, change);
                self.done(edge, command.id);
            }
            Some(_) => self.mailbox_command(edge, command),
            None => {
                let fault = Fault::field("op", "this node does not know the command");
                edge.refuse(command.id, &fault);
            }
        }
    }
}
