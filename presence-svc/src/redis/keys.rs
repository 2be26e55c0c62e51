//! Keys: where in Redis what lies.
//!
//! - `heddle:l:{B}:USER`: the user's life, sessions with their ends and last seen; kept until the
//!   user has been unseen for long.
//! - `heddle:u:{B}:USER`: status and hiding, of those who have set any; kept for ever.
//! - `heddle:s:{B}:SPENDER`: what a user has spent at all gateways; kept for half a minute. The
//!   spender is the hexadecimal id of the user's mailbox, and `B` goes by it.
//! - `heddle:g:{gateways}:ADDRESS`: what a gateway says of itself; kept while it does.
//! - `heddle:g:{gateways}`: their addresses, ordered by when they end.
//! - `heddle:changes`: the channel of users who may have changed.
//!
//! `B` is one of [`BUCKETS`] numbers, by the user; it stands in braces, so Redis Cluster takes it
//! alone to choose the slot.
//!
//! Invariant: what is kept of a user lies in one slot, with that of all users of the same bucket,
//! so one command can be about many. A key's name never changes with the number of nodes.

/// How many slots are used at most; a cluster's nodes share them by chance.
const BUCKETS: u32 = 256;
/// The channel of hints.
pub const CHANGES: &str = "heddle:changes";

/// Which gateways there are.
pub const GATEWAYS: &str = "heddle:g:{gateways}";

/// Where a gateway's word lies.
pub fn gateway_key(name: &str) -> String {
    format!("{GATEWAYS}:{name}")
}

fn bucket(user: &str) -> u32 {
    crc32c::crc32c(user.as_bytes()) % BUCKETS
}

/// Where a user's life lies.
pub fn life_key(user: &str) -> String {
    format!("heddle:l:{{{}}}:{user}", bucket(user))
}

/// Where a user's settings lie.
pub fn setting_key(user: &str) -> String {
    format!("heddle:u:{{{}}}:{user}", bucket(user))
}

/// Where the count of what a user has spent lies.
pub fn spent_key(spender: &str) -> String {
    format!("heddle:s:{{{}}}:{spender}", bucket(spender))
}

/// Which users (by their places) go into one command: at most `users_max`, and in a cluster only
/// those of one bucket.
pub fn groups<'a>(
    users: impl Iterator<Item = &'a str>,
    is_cluster: bool,
    users_max: usize,
) -> Vec<Vec<usize>> {
    let mut places: Vec<(u32, usize)> = users
        .enumerate()
        .map(|(at, user)| (if is_cluster { bucket(user) } else { 0 }, at))
        .collect();
    places.sort_unstable();
    let buckets = places.chunk_by(|one, other| one.0 == other.0);
    let groups = buckets.flat_map(|bucket| bucket.chunks(users_max.max(1)));
    groups
        .map(|group| group.iter().map(|(_, at)| *at).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_bounded_and_of_one_bucket_in_a_cluster() {
        let users: Vec<String> = (0..3_000).map(|number| format!("user-{number}")).collect();
        let names = || users.iter().map(|user| &**user);
        assert_eq!(groups(names(), false, 1_000).len(), 3);
        let groups = groups(names(), true, 10);
        let mut places: Vec<usize> = groups.iter().flatten().copied().collect();
        places.sort_unstable();
        assert!(places.into_iter().eq(0..3_000));
        for group in groups {
            let first = bucket(&users[group[0]]);
            assert!(group.len() <= 10);
            assert!(group.iter().all(|&at| bucket(&users[at]) == first));
        }
    }

    /// A user's id may hold braces; Redis looks at the first pair.
    #[test]
    fn the_first_braces_of_a_key_are_the_buckets() {
        let tag = |key: &str| {
            key.split_once('{')
                .and_then(|(_, rest)| Some(rest.split_once('}')?.0.to_owned()))
        };
        for user in ["ann", "{}", "}{x}"] {
            let expected = Some(bucket(user).to_string());
            assert_eq!(
                [life_key(user), setting_key(user), spent_key(user)].map(|key| tag(&key)),
                [(); 3].map(|()| expected.clone())
            );
        }
    }
}
