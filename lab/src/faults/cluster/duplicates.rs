//! The same message two to a hundred times at once, through all gateways, while owners are killed.
//!
//! Every copy is repeated until it is told OK, as a client without a memory would do it; the log
//! is read back in the end.
//!
//! Invariant: one id, one seq, whoever answers; and one event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, future::join_all, stream};
use heddle_proto::ids::MessageId;
use heddle_proto::v1::messaging_service_client::MessagingServiceClient;
use heddle_sdk::{Client, ConversationId, text, v1};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use super::super::FaultError;
use super::super::probe::{bearer, channel, mint};
use super::Raw;
use crate::target::TargetError;
use crate::target::cluster::Cluster;
use crate::target::conversation::{self, read_log};

/// Messages of a strike.
const IDS: usize = 500;
/// Of them at once.
const AT_ONCE: usize = 16;
/// Conversations.
const TALKS: usize = 8;
/// An owner is killed after each so many messages.
const KILL_EVERY: usize = 125;
/// Copies of most messages, at most; of one in twenty a hundred.
const COPIES_MAX: usize = 6;
const COPIES_MANY: usize = 100;
/// Between two tries of a copy.
const RETRY: Duration = Duration::from_millis(40);
/// No copy may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message, and how often it is sent at once.
struct Sent {
    talk: ConversationId,
    id: MessageId,
    copies: usize,
}

/// What a copy was told: its seq, or nothing in time.
type Told = Option<u64>;

/// Sends all, kills meanwhile, and reads back.
pub(super) async fn strike(
    cluster: &mut Cluster,
    name: &str,
    chance: &mut StdRng,
    raw: &mut Raw,
) -> Result<(), FaultError> {
    let user = format!("{name}-twice");
    let client = cluster.target().client(&user, "setup")?;
    let talks = talks(&client, name).await?;
    let token = bearer(cluster.target(), &user)?;
    let channels = cluster.target().urls().map(channel);
    let channels: Arc<[Channel]> = channels.collect::<Result<_, _>>()?;
    let mut answers: BTreeMap<(ConversationId, MessageId), Vec<Told>> = BTreeMap::new();
    for _ in 0..IDS / KILL_EVERY {
        let sent: Vec<Sent> = (0..KILL_EVERY).map(|_| some(&talks, chance)).collect();
        let owner = cluster.names("chat-svc/").choose(chance).cloned();
        let sending = stream::iter(sent).map(|sent| {
            let (channels, token) = (channels.clone(), token.clone());
            async move {
                let copies = (0..sent.copies).map(|copy| {
                    let channel = channels[copy % channels.len()].clone();
                    say(channel, &sent, token.clone())
                });
                let told = join_all(copies).await;
                ((sent.talk, sent.id), told)
            }
        });
        let sending = sending.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let killing = async {
            tokio::time::sleep(RETRY).await;
            cluster.kill_all(owner.as_deref().unwrap_or("chat-svc/1"));
            cluster.restart().await
        };
        let (told, killed) = tokio::join!(sending, killing);
        killed?;
        answers.extend(told);
    }
    judge(&client, &talks, &answers, raw).await?;
    Ok(())
}

async fn talks(client: &Client, name: &str) -> Result<Vec<ConversationId>, TargetError> {
    let refused = || TargetError::refused("a conversation for what is sent twice");
    let mut talks = Vec::new();
    for number in 0..TALKS {
        let made = client
            .create_direct(&format!("{name}-other-{number}"))
            .await;
        let made = made.map_err(refused())?;
        talks.push(conversation::id_of(&made)?);
    }
    Ok(talks)
}

fn some(talks: &[ConversationId], chance: &mut StdRng) -> Sent {
    let many = chance.random_range(0..20) == 0;
    Sent {
        talk: *talks.choose(chance).unwrap_or(&talks[0]),
        id: mint(),
        copies: match many {
            true => chance.random_range(COPIES_MAX..=COPIES_MANY),
            false => chance.random_range(2..=COPIES_MAX),
        },
    }
}

/// One copy, until it is told OK.
async fn say(channel: Channel, sent: &Sent, token: AsciiMetadataValue) -> Told {
    let mut client = MessagingServiceClient::new(channel);
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let mut request = Request::new(v1::SendMessageRequest {
            conversation_id: sent.talk.to_bytes(),
            client_message_id: sent.id.to_bytes(),
            message: Some(text("once")),
            ..Default::default()
        });
        request
            .metadata_mut()
            .insert("authorization", token.clone());
        match client.send_message(request).await {
            Ok(told) => return Some(told.into_inner().seq),
            Err(status) => {
                let error = heddle_sdk::Error::from(status);
                if !error.is_retryable() {
                    eprintln!("  a copy was refused for certain: {error}");
                    return None;
                }
                tokio::time::sleep(error.retry_delay.unwrap_or(RETRY)).await;
            }
        }
    }
    None
}

/// Each id has one seq, whoever was asked, and stands in the log once.
async fn judge(
    client: &Client,
    talks: &[ConversationId],
    answers: &BTreeMap<(ConversationId, MessageId), Vec<Told>>,
    raw: &mut Raw,
) -> Result<(), TargetError> {
    let mut stored: BTreeMap<(ConversationId, MessageId), Vec<u64>> = BTreeMap::new();
    for talk in talks {
        for event in read_log(client, *talk).await? {
            if let Some(id) = MessageId::from_wire(&event.client_message_id) {
                stored.entry((*talk, id)).or_default().push(event.seq);
            }
        }
    }
    for (key, told) in answers {
        raw.duplicated_ids += 1;
        let in_log = stored.get(key).map_or(&[][..], |seqs| seqs);
        raw.late += told.iter().filter(|it| it.is_none()).count() as u64;
        raw.lost += u64::from(in_log.is_empty());
        let one = in_log.len() <= 1 && told.iter().flatten().all(|seq| in_log == [*seq]);
        if !one {
            eprintln!("  {:?}: told {told:?}, stored at {in_log:?}", key.1);
            raw.doubled += 1;
        }
    }
    Ok(())
}
