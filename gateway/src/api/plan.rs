//! Plan: which stretches of a log a page of history is made of.
//!
//! Pure. A member sees the stretches in which they were a member; a page may span several of them.
//! `history` does the reading.
//!
//! Invariant: nothing outside the granted ranges is ever asked of the store.

use heddle_proto::internal::SeqRange;

/// A stretch to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First seq, inclusive.
    pub from_seq: u64,
    /// Last seq, inclusive.
    pub to_seq: u64,
}

/// What of the ranges lies at or below `seq`, newest first.
pub fn down_from(ranges: &[SeqRange], seq: u64) -> Vec<Stretch> {
    let clip = |range: &SeqRange| Stretch {
        from_seq: range.from_seq.max(1),
        to_seq: range.to_seq.min(seq),
    };
    ranges
        .iter()
        .rev()
        .map(clip)
        .filter(Stretch::is_some)
        .collect()
}

/// What of the ranges lies at or above `seq`, oldest first.
pub fn up_from(ranges: &[SeqRange], seq: u64) -> Vec<Stretch> {
    let clip = |range: &SeqRange| Stretch {
        from_seq: range.from_seq.max(seq).max(1),
        to_seq: range.to_seq,
    };
    ranges.iter().map(clip).filter(Stretch::is_some).collect()
}

/// Whether anything lies below `seq`.
pub fn more_below(ranges: &[SeqRange], seq: u64) -> bool {
    seq > 1 && !down_from(ranges, seq - 1).is_empty()
}

/// Whether anything lies above `seq`.
pub fn more_above(ranges: &[SeqRange], seq: u64) -> bool {
    !up_from(ranges, seq.saturating_add(1)).is_empty()
}

impl Stretch {
    fn is_some(&self) -> bool {
        self.from_seq <= self.to_seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> Vec<SeqRange> {
        vec![
            SeqRange {
                from_seq: 3,
                to_seq: 5,
            },
            SeqRange {
                from_seq: 9,
                to_seq: 12,
            },
        ]
    }

    fn stretch(from_seq: u64, to_seq: u64) -> Stretch {
        Stretch { from_seq, to_seq }
    }

    #[test]
    fn stretches_are_clipped_to_what_is_due() {
        assert_eq!(down_from(&ranges(), 10), [stretch(9, 10), stretch(3, 5)]);
        assert_eq!(down_from(&ranges(), 8), [stretch(3, 5)]);
        assert_eq!(up_from(&ranges(), 4), [stretch(4, 5), stretch(9, 12)]);
        assert_eq!(up_from(&ranges(), 13), []);
        assert!(more_below(&ranges(), 9) && !more_below(&ranges(), 3));
        assert!(more_above(&ranges(), 5) && !more_above(&ranges(), 12));
    }

    proptest! {
        /// Both directions together cover each due seq once, and nothing else.
        #[test]
        fn both_directions_cover_what_is_due(seq in 0u64..20) {
            let covered: Vec<u64> = down_from(&ranges(), seq)
                .into_iter()
                .chain(up_from(&ranges(), seq + 1))
                .flat_map(|stretch| stretch.from_seq..=stretch.to_seq)
                .collect();
            let mut sorted = covered.clone();
            sorted.sort_unstable();
            let due: Vec<u64> = (3..=5).chain(9..=12).collect();
            prop_assert_eq!(sorted, due);
        }
    }
}
