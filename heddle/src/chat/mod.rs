//! `heddle chat`: a line-mode client for a person.

use crate::connect::ConnectArgs;
use crate::failure::{Failure, Outcome};
use clap::Args;

/// Chat in the terminal
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle chat --as alice --with bob")]
pub struct ChatArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Chats until the input ends.
pub async fn run(args: ChatArgs) -> Outcome {
    let _ = args.connect.connect().await?;
    Err(Failure::new("not yet"))
}
