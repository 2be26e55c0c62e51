//! What the log provider was given, for scenarios about pushes.

use std::collections::HashSet;

use serde::Deserialize;

use crate::world::Failure;
use crate::{World, eventually};

/// A line of the log provider.
#[derive(Clone, Debug, Deserialize)]
pub struct Push {
    pub push_id: String,
    pub user_id: String,
    pub device_id: String,
    pub kind: String,
    pub has_preview: bool,
    pub seq: u64,
    pub count: u32,
    pub badge: u64,
}

/// All lines so far.
pub fn pushes(world: &World) -> Vec<Push> {
    let lines = std::fs::read_to_string(world.pushes()).unwrap_or_default();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Those that tell a user of messages.
pub fn to<'a>(all: &'a [Push], user: &str) -> Vec<&'a Push> {
    let is_his = |push: &&Push| push.user_id == user && push.kind == "message";
    all.iter().filter(is_his).collect()
}

/// Makes a device known and takes it offline: pushes go to devices that had a session.
pub async fn offline(world: &World, user: &str, device: &str) -> Result<(), Failure> {
    world.person(user, device).await?.session.close().await;
    Ok(())
}

/// Waits until a push to this user's device tells of a seq.
pub async fn pushed(world: &World, user: &str, device: &str, seq: u64) -> Push {
    let what = format!("a push to {user}'s {device} about {seq}");
    some(world, &what, |push| {
        (&*push.user_id, &*push.device_id, push.seq) == (user, device, seq)
            && push.kind == "message"
    })
    .await
}

/// Waits until there is such a push.
pub async fn some(world: &World, what: &str, is_it: impl Fn(&Push) -> bool) -> Push {
    eventually(what, || async {
        pushes(world).into_iter().find(|push| is_it(push))
    })
    .await
}

/// The ids of pushes.
pub fn ids(pushes: &[&Push]) -> HashSet<String> {
    pushes.iter().map(|push| push.push_id.clone()).collect()
}
