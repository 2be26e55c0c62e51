//! Frame: what one frame of a chat node does, in one go.
//!
//! The frame is decoded once; its bodies are slices of it, shared by all sessions that get them.
//!
//! Invariant: nothing here waits. What a session cannot take now, it reads from the store later.

use super::{
    ShardLinks, held,
    pending::{self, Pending},
};
use crate::edge::Edge;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        CommandResult, Delivery, EdgeResponse, Ephemeral, MailboxHead, ShardMap,
        command_result::Outcome, ephemeral, raw_open_session_response::Frame,
    },
    v1::{self, Cursor, ErrorReason, GoAwayReason},
};
use std::sync::{Arc, PoisonError, atomic::Ordering};

impl ShardLinks {
    /// A frame arrives from a node.
    pub(super) fn frame(&self, edge: &Arc<Edge>, node: usize, frame: EdgeResponse) {
        if let Some(map) = &frame.shard_map {
            self.announced(edge, node, map);
        }
        self.results(edge, node, frame.results);
        if self.dropping.load(Ordering::Relaxed) {
            let dropped = frame.deliveries.len() as u64;
            edge.metrics.dropped.add(dropped, &[]);
        } else {
            for delivery in &frame.deliveries {
                deliver(edge, delivery, &frame.bodies);
            }
        }
        for ephemeral in frame.ephemerals {
            pass_on(edge, ephemeral);
        }
        for head in frame.heads {
            let MailboxHead {
                session_ids,
                position,
                nonce,
            } = head;
            let head = Cursor { position, nonce };
            edge.sessions
                .each_of(&session_ids, |session| session.head(edge, head));
        }
        for kick in frame.kicks {
            let reason = kick.reason();
            let reason = match reason {
                GoAwayReason::Unspecified => GoAwayReason::Resume,
                reason => reason,
            };
            edge.sessions
                .each_of(&kick.session_ids, |session| session.go_away(edge, reason));
        }
    }

    /// Who owns what has changed: what waits goes on, and sessions attach to the new owners.
    fn announced(&self, edge: &Arc<Edge>, node: usize, map: &ShardMap) {
        let gained = {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            routes.announce(node, map)
        };
        if gained.is_empty() {
            return;
        }
        tracing::info!(
            node,
            shards = gained.len(),
            of = map.shard_count,
            "shards announced"
        );
        // What the former owner has not answered is asked again, before anything that comes later:
        // its refusal may still be on the way here.
        let unanswered = {
            let is_gained = |log: LogId| gained.binary_search(&log.shard(map.shard_count)).is_ok();
            self.table().of_others(node, is_gained)
        };
        for id in unanswered {
            self.hold(edge, id);
        }
        for session in edge.sessions.of_shards(map.shard_count, &gained) {
            session.attach_again(edge);
        }
        self.rehold();
        self.release(edge, edge.clock.now_ms());
    }

    /// Sorts what waits by shard anew: before the first announcement nobody knew how many there
    /// are.
    fn rehold(&self) {
        let mut held = self.held();
        let table = self.table();
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let waiting: Vec<(u32, u64)> = held.all().collect();
        *held = held::Held::default();
        for (_, id) in waiting {
            if let Some(pending) = table.get(id) {
                held.put(routes.shard(pending.log), id);
            }
        }
    }

    fn results(&self, edge: &Edge, node: usize, results: Vec<CommandResult>) {
        let mut again = Vec::new();
        let mut done: Vec<(Pending, Result<Outcome, Fault>)> = Vec::with_capacity(results.len());
        {
            let mut table = self.table();
            for CommandResult { id, outcome } in results {
                let (id, time) = pending::asked(id);
                let refused = matches!(outcome, None | Some(Outcome::Error(_)));
                let last = table.get(id).filter(|asked| asked.asked_again == time);
                if refused && last.is_none() {
                    // The next owner was asked since, and may have stored it.
                } else if owner_changes(&outcome) {
                    if last.is_some_and(|asked| asked.node == Some(node)) {
                        again.push(id);
                    }
                } else if let Some(pending) = table.remove(id) {
                    done.push((pending, outcome.ok_or_else(crate::answers::unexpected)));
                }
            }
        }
        for (pending, outcome) in done {
            pending.answer.tell(edge, outcome);
        }
        for id in again {
            self.ask_again(edge, id);
        }
    }

    /// The owner is changing and nothing was taken: the command waits a moment in its place.
    fn ask_again(&self, edge: &Edge, id: u64) {
        self.hold(edge, id);
        let log = self.table().get(id).map(|pending| pending.log);
        if let Some(log) = log {
            let shard = self
                .routes
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .shard(log);
            self.held().pause(shard, edge.clock.now_ms());
        }
    }
}

fn owner_changes(outcome: &Option<Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Error(error)) if error.reason() == ErrorReason::OwnerChanging)
}

fn deliver(edge: &Edge, delivery: &Delivery, bodies: &[Bytes]) {
    let Some(body) = bodies.get(delivery.body as usize) else {
        tracing::error!(
            position = delivery.position,
            "a delivery names a body that is not there"
        );
        return;
    };
    edge.sessions.each_of(&delivery.session_ids, |session| {
        session.deliver(edge, delivery, body)
    });
}

fn pass_on(edge: &Edge, ephemeral: Ephemeral) {
    let frame = match ephemeral.kind {
        Some(ephemeral::Kind::Typing(typing)) => Frame::Typing(typing),
        Some(ephemeral::Kind::Signal(signal)) => Frame::Signal(v1::Signal {
            // Shorter than the frame that it is a slice of, and may wait long.
            payload: Bytes::copy_from_slice(&signal.payload),
            ..signal
        }),
        None => return,
    };
    edge.sessions.each_of(&ephemeral.session_ids, |session| {
        session.notice(frame.clone())
    });
}
