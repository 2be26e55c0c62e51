//! `heddle conversations`: a user's list.

use super::show;
use crate::connect::ConnectArgs;
use crate::failure::Outcome;
use clap::Args;
use heddle_sdk::v1;
use serde_json::{Value, json};

/// List a user's conversations, most recently active first
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle conversations --as alice
  heddle conversations --as alice --json | jq -r .conversation_id")]
pub struct ConversationsArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print one JSON value per line
    #[arg(long)]
    json: bool,
}

/// Prints the list.
pub async fn run(args: ConversationsArgs) -> Outcome {
    let connected = args.connect.connect().await?;
    let snapshot = connected.client.snapshot().await?;
    for summary in &snapshot.conversations {
        if args.json {
            println!("{}", machine(summary));
        } else {
            println!("{}", person(summary, &connected.user_id));
        }
    }
    if !args.json && snapshot.conversations.is_empty() {
        println!("no conversations yet; `heddle chat --as USER --with SOMEBODY` begins one");
    }
    Ok(())
}

/// What a conversation is called: its title, or the other person.
pub fn name(summary: &v1::ConversationSummary, user_id: &str) -> String {
    let conversation = summary.conversation.clone().unwrap_or_default();
    if !conversation.title.is_empty() {
        return show::plain(&conversation.title);
    }
    let others = summary.marks.iter().map(|mark| mark.user_id.as_str());
    let others: Vec<_> = others.filter(|other| *other != user_id).collect();
    match others.is_empty() {
        true if conversation.kind() == v1::ConversationKind::Direct => "(direct)".to_owned(),
        true => "(group without a title)".to_owned(),
        false => show::plain(&others.join(", ")),
    }
}

fn person(summary: &v1::ConversationSummary, user_id: &str) -> String {
    let conversation = summary.conversation.clone().unwrap_or_default();
    let last = summary.last_message.as_ref().and_then(show::event);
    let unread = match summary.unread_count {
        0 => String::new(),
        count => format!("{count} new"),
    };
    format!(
        "{}  {:>7}  {}  {}",
        show::id(&conversation.conversation_id),
        unread,
        name(summary, user_id),
        last.map(|last| format!("| {last}")).unwrap_or_default(),
    )
}

fn machine(summary: &v1::ConversationSummary) -> Value {
    let conversation = summary.conversation.clone().unwrap_or_default();
    let kind = conversation.kind().as_str_name();
    json!({
        "conversation_id": show::id(&conversation.conversation_id),
        "kind": kind.trim_start_matches("CONVERSATION_KIND_").to_lowercase(),
        "title": conversation.title,
        "member_count": conversation.member_count,
        "last_seq": summary.last_seq,
        "activity_time_ms": show::millis(summary.activity_time.as_ref()),
        "unread_count": summary.unread_count,
        "unread_mention_count": summary.unread_mention_count,
        "read_seq": summary.read_seq,
        "last_message": summary.last_message.as_ref().map(show::event_json),
        "is_member": summary.membership.as_ref().is_some_and(|own| own.until_seq == 0),
    })
}
