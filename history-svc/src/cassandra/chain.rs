//! Which rows of a tail are the log: the decision of a take-over (DESIGN section 5). Pure.
//!
//! The log is the longest chain of rows in which each starts where the last one ended and epochs
//! never decrease. What stands behind it is the remains of an owner that never said OK.
//!
//! Invariant: everything that any row, or the anchor, names as committed is in the chain, or the
//! answer is that data was lost.

/// What a take-over looks at in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// seq of its first event.
    pub first_seq: u64,
    /// seq of its last event.
    pub last_seq: u64,
    /// The epoch under which it was last written.
    pub ballot: u64,
    /// The committed head that it names.
    pub committed_head: u64,
}

/// What a tail adds up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Rows of the chain, from the first row given.
    pub len: usize,
    /// seq of its last event; 0: the log is empty.
    pub head: u64,
    /// The first row of the chain that nobody names as committed: it, and what follows it, has to
    /// be written again under the new epoch. `len`: there is none.
    pub uncertain: usize,
}

/// Events that were committed are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("events up to {committed} were committed, the log ends at {found}")]
pub struct Lost {
    /// The greatest committed head named.
    pub committed: u64,
    /// Where the chain ends.
    pub found: u64,
}

/// Judges a tail: `anchor` is a committed head known otherwise, `rows` the newest rows, ascending.
/// The first row given must be the log's first, or reach down to what is committed.
pub fn judge(anchor: u64, rows: &[Seen]) -> Result<Chain, Lost> {
    let named = rows.iter().map(|row| row.committed_head).max();
    let committed = named.unwrap_or(0).max(anchor);
    let Some(first) = rows.first() else {
        // Nothing was ever written, or everything that was is gone.
        let lost = Lost {
            committed,
            found: 0,
        };
        return if committed == 0 {
            Ok(Chain {
                len: 0,
                head: 0,
                uncertain: 0,
            })
        } else {
            Err(lost)
        };
    };
    if first.first_seq > committed + 1 {
        let found = 0;
        return Err(Lost { committed, found });
    }
    let (mut len, mut head, mut ballot) = (0, first.first_seq - 1, 0);
    for row in rows {
        if row.first_seq != head + 1 || row.ballot < ballot {
            break;
        }
        (len, head, ballot) = (len + 1, row.last_seq, row.ballot);
    }
    if head < committed {
        return Err(Lost {
            committed,
            found: head,
        });
    }
    let certain = |row: &&Seen| row.last_seq <= committed;
    let uncertain = rows[..len].iter().take_while(certain).count();
    Ok(Chain {
        len,
        head,
        uncertain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first_seq: u64, last_seq: u64, ballot: u64) -> Seen {
        Seen {
            first_seq,
            last_seq,
            ballot,
            committed_head: first_seq - 1,
        }
    }

    fn chain(len: usize, head: u64, uncertain: usize) -> Result<Chain, Lost> {
        Ok(Chain {
            len,
            head,
            uncertain,
        })
    }

    #[test]
    fn the_last_row_is_uncertain_unless_an_anchor_names_it() {
        assert_eq!(judge(0, &[]), chain(0, 0, 0));
        assert_eq!(judge(0, &[row(1, 3, 1)]), chain(1, 3, 0));
        let rows = [row(1, 3, 1), row(4, 4, 1), row(5, 9, 2)];
        assert_eq!(judge(0, &rows), chain(3, 9, 2));
        assert_eq!(judge(9, &rows), chain(3, 9, 3));
        assert_eq!(judge(2, &rows[1..]), chain(2, 9, 1));
    }

    #[test]
    fn remains_of_owners_that_never_said_ok_are_left_out() {
        // Not where the log ends.
        let hanging = Seen {
            committed_head: 3,
            ..row(6, 9, 3)
        };
        assert_eq!(judge(0, &[row(1, 3, 1), hanging]), chain(1, 3, 1));
        // Written under an older epoch than what it would follow.
        let late = Seen {
            committed_head: 0,
            ..row(4, 5, 1)
        };
        assert_eq!(judge(0, &[row(1, 3, 2), late]), chain(1, 3, 0));
    }

    #[test]
    fn what_was_committed_and_is_not_there_is_loss() {
        let lost = |committed, found| Err(Lost { committed, found });
        assert_eq!(judge(4, &[]), lost(4, 0));
        assert_eq!(judge(7, &[row(1, 3, 1)]), lost(7, 3));
        assert_eq!(judge(0, &[row(1, 3, 1), row(6, 9, 1)]), lost(5, 3));
        assert_eq!(
            judge(0, &[row(1, 3, 2), row(4, 5, 1), row(6, 6, 2)]),
            lost(5, 3)
        );
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod model;
