//! One user: does what the log says, each thing after the one before.
//!
//! The director hands steps in the order of the file; a person's lines fly together, but a leave
//! waits until the lines before it are answered, and a line until the join before it is done.
//!
//! Invariant: what a person does stands in the channel's log in the order of the file.

use std::sync::Arc;

use heddle_sdk::{Client, ConversationId, Error};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::device::Order;
use super::ledger::Ledger;
use crate::irc::What;

/// Tasks that wait for one person, at most; then the director waits.
pub const TASKS_MAX: usize = 512;

/// What a person is told to do.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all tasks are to say something"
)]
pub enum Task {
    /// A step of the log that changes membership.
    Change(What),
    /// A message to a room; the permit is given back with the answer.
    Say(usize, heddle_sdk::v1::Message, OwnedSemaphorePermit),
}

/// A person at work.
pub struct Person {
    /// Index.
    pub user: usize,
    /// The user's id.
    pub id: String,
    /// The user's own client.
    pub client: Client,
    /// The client of the channel's owner, who adds people.
    pub owner: Client,
    /// The channel.
    pub channel: ConversationId,
    /// The first device, which speaks.
    pub voice: mpsc::Sender<Order>,
    /// How many of its sends are answered.
    pub settled: watch::Receiver<u64>,
    /// What all share.
    pub ledger: Arc<Ledger>,
}

impl Person {
    /// Works until there is nothing more to do and all is answered.
    pub async fn run(mut self, mut tasks: mpsc::Receiver<Task>) {
        let mut permits = std::collections::VecDeque::new();
        let (mut said, mut given_back) = (0_u64, 0_u64);
        loop {
            tokio::select! {
                biased;
                changed = self.settled.changed(), if given_back < said => {
                    if changed.is_err() {
                        return;
                    }
                }
                task = tasks.recv() => match task {
                    Some(Task::Say(room, message, permit)) => {
                        said += 1;
                        permits.push_back(permit);
                        if self.voice.send(Order::Say(room, message)).await.is_err() {
                            return;
                        }
                    }
                    Some(Task::Change(what)) => {
                        if self.settled.wait_for(|settled| *settled >= said).await.is_err() {
                            return;
                        }
                        if let Err(error) = self.change(&what).await {
                            let id = &self.id;
                            self.ledger.problem("refused", || format!("{id}, {what:?}: {error}"));
                        }
                    }
                    None => {
                        let _ = self.settled.wait_for(|settled| *settled >= said).await;
                        return;
                    }
                },
            }
            let settled = *self.settled.borrow();
            permits.drain(..(settled - given_back) as usize);
            given_back = settled;
        }
    }

    async fn change(&self, what: &What) -> Result<(), Error> {
        match what {
            What::Join { .. } => {
                self.owner
                    .add_members(self.channel, vec![self.id.clone()])
                    .await?;
                self.ledger.set_member(self.user, true);
            }
            What::Leave => {
                self.client.leave(self.channel).await?;
                self.ledger.set_member(self.user, false);
            }
            What::Say(_) | What::Act(_) => {}
        }
        Ok(())
    }
}
