//! Who goes offline when, and comes back when: from the seed alone.
//!
//! Invariant: at least a fifth of the users are in it, and no device is away twice at once.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// Absences that are planned; some hit people who are no members then.
pub const ABSENCES_MIN: usize = 300;
/// The shortest and the longest, in messages.
const LENGTHS: std::ops::Range<usize> = 5..150;

/// What happens before a message.
#[derive(Debug, Default)]
pub struct Absences {
    leaving: BTreeMap<usize, Vec<usize>>,
    returning: BTreeMap<usize, Vec<usize>>,
}

impl Absences {
    /// For so many users with so many devices each, over so many messages.
    pub fn plan(seed: u64, users: usize, devices: usize, messages: usize) -> Absences {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..users).collect();
        order.shuffle(&mut chance);
        let count = ABSENCES_MIN.max(users.div_ceil(4));
        let mut away_until = vec![0; users * devices];
        let mut absences = Absences::default();
        // In rounds over all users, so that the first round alone has a fifth of them.
        for index in 0..count {
            let user = order[index % users];
            let seat = user * devices + chance.random_range(0..devices);
            let from = chance
                .random_range(0..messages.max(1))
                .max(away_until[seat]);
            let until = from + chance.random_range(LENGTHS).min(messages / 4 + 1);
            away_until[seat] = until + 1;
            absences.leaving.entry(from).or_default().push(seat);
            absences.returning.entry(until).or_default().push(seat);
        }
        absences
    }

    /// The seats that leave, and those that return, before message `index`.
    pub fn due(&mut self, index: usize) -> (Vec<usize>, Vec<usize>) {
        let take = |all: &mut BTreeMap<usize, Vec<usize>>| {
            let later = all.split_off(&(index + 1));
            std::mem::replace(all, later)
                .into_values()
                .flatten()
                .collect()
        };
        (take(&mut self.leaving), take(&mut self.returning))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_goes_and_everybody_comes_back() {
        let mut absences = Absences::plan(7, 900, 3, 2000);
        let (mut users, mut left, mut returned) = (std::collections::BTreeSet::new(), 0, 0);
        for index in 0..3000 {
            let (leaving, returning) = absences.due(index);
            users.extend(leaving.iter().map(|seat| seat / 3));
            left += leaving.len();
            returned += returning.len();
            assert!(returned <= left);
        }
        assert!(users.len() >= 180 && left >= ABSENCES_MIN);
        assert_eq!(left, returned);
    }
}
