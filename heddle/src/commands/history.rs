//! `heddle history`: what was said in a conversation.

use super::show;
use crate::connect::{ConnectArgs, Connected, ConversationArgs};
use crate::failure::Outcome;
use clap::Args;
use heddle_sdk::Page;

/// Show what was said in a conversation
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle history --as alice --with bob
  heddle history --as alice --with bob --before 100 --count 20 --json
  heddle history --as alice --with bob --after 0")]
pub struct HistoryArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    conversation: ConversationArgs,
    /// What stands just before this number
    #[arg(long, value_name = "SEQ", group = "place")]
    before: Option<u64>,
    /// What stands just after this number
    #[arg(long, value_name = "SEQ", group = "place")]
    after: Option<u64>,
    /// What stands around this number
    #[arg(long, value_name = "SEQ", group = "place")]
    around: Option<u64>,
    /// From this time on, in milliseconds since 1970
    #[arg(long, value_name = "MILLISECONDS", group = "place")]
    from_time: Option<u64>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(i32).range(1..=500))]
    count: i32,
    /// Print one JSON value per line
    #[arg(long)]
    json: bool,
}

/// Prints a page.
pub async fn run(args: HistoryArgs) -> Outcome {
    let Connected {
        client, user_id, ..
    } = args.connect.connect().await?;
    let conversation = args.conversation.known(&user_id)?;
    let page = match (args.before, args.after, args.around, args.from_time) {
        (Some(seq), ..) => Page::Before(seq),
        (_, Some(seq), ..) => Page::After(seq),
        (_, _, Some(seq), _) => Page::Around(seq),
        (.., Some(at_ms)) => Page::FromTime(at_ms),
        _ => Page::Newest,
    };
    let answer = client.history(conversation, page, args.count).await?;
    for event in &answer.events {
        if args.json {
            println!("{}", show::event_json(event));
        } else if let Some(line) = show::event(event) {
            let time = show::clock(event.create_time.as_ref());
            println!("{:>6}  {time}  {line}", format!("#{}", event.seq));
        }
    }
    Ok(())
}
