//! Allow: who may know of whom: those who share a conversation now.
//!
//! The owner of the asker's mailbox tells its conversations, the owner of each target's mailbox
//! which of them the target is in.
//!
//! Invariant: strangers and users who do not exist look alike: they are left out.

use crate::edge::Edge;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{Command, SharesCommand, command::Op, command_result::Outcome},
};

/// Targets that are asked about at once.
const ASKED_AT_ONCE: usize = 32;

/// Those of `targets` whose presence `user_id` may see.
pub async fn allowed(
    edge: &Edge,
    user_id: &str,
    targets: Vec<String>,
) -> Result<Vec<String>, Fault> {
    if targets.is_empty() {
        return Ok(targets);
    }
    let own = shares(edge, user_id, Vec::new()).await?;
    let own = &own;
    let checked = stream::iter(targets).map(|target| async move {
        if target == user_id {
            return Ok(Some(target));
        }
        if own.is_empty() {
            return Ok(None);
        }
        let shared = shares(edge, &target, own.clone()).await?;
        Ok((!shared.is_empty()).then_some(target))
    });
    let checked: Vec<Result<Option<String>, Fault>> =
        checked.buffer_unordered(ASKED_AT_ONCE).collect().await;
    checked.into_iter().filter_map(Result::transpose).collect()
}

async fn shares(edge: &Edge, user_id: &str, among: Vec<Bytes>) -> Result<Vec<Bytes>, Fault> {
    let command = Command {
        user_id: user_id.to_owned(),
        op: Some(Op::Shares(SharesCommand {
            conversation_ids: among,
        })),
        ..Default::default()
    };
    match edge
        .shards
        .call(edge, LogId::mailbox(user_id), command)
        .await?
    {
        Outcome::Shares(shares) => Ok(shares.conversation_ids),
        _ => Err(crate::answers::unexpected()),
    }
}
