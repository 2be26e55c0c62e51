//! Which rows of a tail are the log: `history-svc/src/cassandra/chain.rs` with expiry.
//!
//! Called by `owner` at the end of a take-over's reading. Invariant: pure; what is named as
//! committed is in the chain, or the answer is that data was lost.

use crate::mistake::Mistake;
use crate::state::{Epoch, Log, Owner, SEQS, State};

/// What a tail adds up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The log, the stubs of the anchor included.
    pub log: Log,
    /// seq of its last event.
    pub head: u8,
    /// The key of the first row that nobody names as committed; 0: there is none.
    pub uncertain: u8,
    /// Keys of the chain's rows from the uncertain one on.
    pub rows: [bool; SEQS],
}

/// Events that were committed are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// Judges what an owner has read.
pub fn judge(state: &State, owner: &Owner, mistake: Option<Mistake>) -> Result<Chain, Lost> {
    let anchor = state.anchor(owner.anchor);
    let named = (1..=SEQS as u8)
        .filter(|key| *key > anchor.head)
        .map(|key| state.row(key, owner.seen[usize::from(key) - 1]))
        .map(|row| row.committed_head)
        .max();
    let committed = named.unwrap_or(0).max(anchor.head);
    let mut chain = Chain {
        log: anchor.stubs,
        head: anchor.head,
        uncertain: 0,
        rows: [false; SEQS],
    };
    let mut ballot: Epoch = 0;
    while usize::from(chain.head) < SEQS {
        let key = chain.head + 1;
        let epoch = owner.seen[usize::from(chain.head)];
        let row = state.row(key, epoch);
        let decreases = epoch < ballot && mistake != Some(Mistake::DecreasingEpochs);
        if row.is_empty() || decreases {
            break;
        }
        for event in row.events.into_iter().filter(|event| *event != 0) {
            chain.log[usize::from(chain.head)] = event;
            chain.head += 1;
        }
        ballot = epoch;
        if chain.head > committed {
            chain.rows[usize::from(key) - 1] = true;
            chain.uncertain = if chain.uncertain == 0 {
                key
            } else {
                chain.uncertain
            };
        }
    }
    if chain.head < committed {
        return Err(Lost);
    }
    Ok(chain)
}
