//! Overlays: what an edit, an erasure or a reaction leaves beside its target.
//!
//! [`super::append`] asks for them once the event is allowed. They are projections: written with
//! the event, with its seq, so that replays are harmless.
//!
//! Invariant: an erasure names every row that still holds the body, the edits' included (P10).

use super::{Conversation, append::Consequences, event::Origin, tail::Fact};
use crate::cells;
use heddle_proto::{
    internal::{Blank, Cell, EditAppend, OverlayRow, ReactionOverlay, overlay_row},
    v1,
};

impl Conversation {
    pub(super) fn edited(&self, seq: u64, time_ms: u64, edit: &EditAppend, fact: &Fact) -> Cell {
        let edit_seqs = fact.edit_seqs.iter().copied().chain([seq]).collect();
        let kind = Some(overlay_row::Kind::Edited(edit.message.clone()));
        let target_seq = edit.target_seq;
        let row = OverlayRow {
            target_seq,
            seq,
            time_ms,
            kind,
            edit_seqs,
        };
        cells::overlay(&self.id, &row)
    }

    pub(super) fn erased(
        &self,
        consequences: &mut Consequences,
        seq: u64,
        time_ms: u64,
        target_seq: u64,
        fact: &Fact,
    ) {
        let kind = Some(overlay_row::Kind::Erased(true));
        let row = OverlayRow {
            target_seq,
            seq,
            time_ms,
            kind,
            edit_seqs: Vec::new(),
        };
        consequences.cells.push(cells::overlay(&self.id, &row));
        if !fact.edit_seqs.is_empty() {
            // The row of the edit holds a body too: this one, with none, takes its place.
            let edit_seqs = fact.edit_seqs.clone();
            let row = OverlayRow {
                target_seq,
                seq,
                time_ms,
                kind: None,
                edit_seqs,
            };
            consequences.cells.push(cells::overlay(&self.id, &row));
        }
        let gone = fact.edit_seqs.iter().copied().chain([target_seq]);
        consequences.blanks.extend(gone.map(|seq| Blank {
            log_id: self.id.to_bytes(),
            seq,
        }));
    }

    pub(super) fn reacted(&self, seq: u64, origin: Origin<'_>, reaction: &v1::Reaction) -> Cell {
        let overlay = ReactionOverlay {
            user_id: origin.user_id.to_owned(),
            key: reaction.key.clone(),
            removed: reaction.removed,
        };
        let row = OverlayRow {
            target_seq: reaction.target_seq,
            seq,
            time_ms: origin.time_ms,
            kind: Some(overlay_row::Kind::Reaction(overlay)),
            edit_seqs: Vec::new(),
        };
        cells::overlay(&self.id, &row)
    }
}
