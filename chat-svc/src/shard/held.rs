//! Pieces of fan-outs that cannot be applied yet: no owner, no mailbox, a commit that failed, a
//! hole before them that is being read, or no room in the batch.
//!
//! [`super::fan_out`] asks before it applies a piece; the tick tries again what waits.
//!
//! Invariant: a mailbox takes its pieces in the order in which they came here. A newer mark or
//! membership that overtook an older one would be undone by it.

use super::{Shard, batch::Piece, mailboxes::piece_user};
use heddle_kit::FastMap;
use std::collections::BTreeMap;

/// What waits, and for whom.
#[derive(Default)]
pub(super) struct Held {
    /// By when its fan-out came, and by its place in it.
    pieces: BTreeMap<(u64, u32), Piece>,
    /// How many pieces of a user wait; those being filled count as well.
    users: FastMap<String, usize>,
}

impl Held {
    /// Whether an older piece of the user waits.
    pub fn blocks(&self, user_id: &str) -> bool {
        !self.users.is_empty() && self.users.contains_key(user_id)
    }

    /// Keeps a piece in its place.
    pub fn push(&mut self, piece: Piece) {
        self.block(piece_user(&piece));
        self.pieces.insert((piece.0.arrival, piece.1), piece);
    }

    /// Keeps pieces in their places.
    pub fn extend(&mut self, pieces: Vec<Piece>) {
        pieces.into_iter().for_each(|piece| self.push(piece));
    }

    /// A hole before a piece of the user is being read: what comes after it waits.
    pub fn block(&mut self, user_id: &str) {
        match self.users.get_mut(user_id) {
            Some(count) => *count += 1,
            None => {
                self.users.insert(user_id.to_owned(), 1);
            }
        }
    }

    /// One piece of the user waits no more.
    pub fn unblock(&mut self, user_id: &str) {
        if let Some(count) = self.users.get_mut(user_id) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(user_id);
            }
        }
    }

    /// Takes all out, in their order.
    fn take(&mut self) -> BTreeMap<(u64, u32), Piece> {
        let pieces = std::mem::take(&mut self.pieces);
        for piece in pieces.values() {
            self.unblock(piece_user(piece));
        }
        pieces
    }
}

impl Shard {
    /// Applies a piece unless it must wait.
    pub(super) fn apply_or_hold(&mut self, piece: Piece) {
        let waits = self.ownership.is_none() || self.held.blocks(piece_user(&piece));
        if waits || self.lacks_room() {
            self.held.push(piece);
        } else {
            self.apply_piece(piece);
        }
    }

    /// Tries again what waits.
    pub(super) fn apply_held(&mut self) {
        for (_, piece) in self.held.take() {
            self.apply_or_hold(piece);
        }
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
