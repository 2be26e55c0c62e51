//! Stuck: how a piece of a fan-out comes to be set aside, in a whole server.
//!
//! A message is stored while the store takes nothing into its recipient's mailbox; the server
//! restarts, and the conversation's log cannot be read, as if its rows were gone. What is fanned
//! out again lacks the message, and the next one finds the hole.

use crate::{
    World,
    people::id_of,
    wait::eventually,
    wire::{Device, mint, send_of},
    world::Failure,
};
use heddle::serve::assemble::ServeConfig;
use heddle_history::testing::Faults;
use heddle_proto::ids::LogId;
use heddle_sdk::{Client, ConversationId, v1};
use serde_json::json;
use std::sync::Arc;

/// So many that one mailbox can be refused and nothing else with it.
const SHARDS: u32 = 4;

/// A server that has set something aside: sam's messages "one" and "two" to somebody.
pub struct SetAside {
    /// Who lacks them.
    pub recipient: String,
    /// Their conversation. The messages are its events 2 and 3.
    pub talk: ConversationId,
    /// They hide the conversation's rows until they are told otherwise.
    pub faults: Arc<Faults>,
    /// An operator.
    pub operator: Client,
    /// The piece.
    pub piece: v1::StuckPiece,
}

/// What a world needs for [`set_aside`].
pub fn settings(config: &mut ServeConfig) {
    config.chat.shards = SHARDS;
}

/// Has something set aside. Restarts the server: sessions are to be opened afterwards.
pub async fn set_aside(world: &mut World) -> Result<SetAside, Failure> {
    let recipient = alone()?;
    let mut sam = world.person("sam", "phone").await?;
    let talk = id_of(&sam.client.create_direct(&recipient).await?)?;
    sam.session.close().await;

    let faults = world.restart_faulty().await?;
    faults.refuse_log(Some(LogId::mailbox(&recipient)));
    sam = world.person("sam", "phone").await?;
    sam.say(talk, "one").await?;
    sam.hears("one").await;
    sam.session.close().await;

    let hide = |faults: &Faults| faults.hide_rows(Some(talk));
    let faults = world.restart_planted(hide).await?;
    let phone = Device::connect(world, "sam", "phone").await?;
    let two = send_of(talk, &mint(), "two");
    phone.messaging().send_message(two).await?;
    let token = world.signer.token("ops", json!({"admin": true}));
    let operator = world.client_with(token, "terminal").await?;
    let found = eventually("a piece that is set aside", || async {
        operator.stuck("", "").await.ok()?.stuck_pieces.pop()
    });
    let piece = found.await;
    Ok(SetAside {
        recipient,
        talk,
        faults,
        operator,
        piece,
    })
}

/// Somebody whose mailbox's shard has no other work of sam's talk with them.
fn alone() -> Result<String, Failure> {
    let is_alone = |name: &String| {
        let shard = LogId::mailbox(name).shard(SHARDS);
        let busy = [LogId::mailbox("sam"), LogId::direct("sam", name)];
        busy.iter().all(|log| log.shard(SHARDS) != shard)
    };
    let mut names = (0..64).map(|number| format!("tess-{number}"));
    Ok(names.find(is_alone).ok_or("no name is left")?)
}
