//! The end of a run: everyone comes back, everything is answered, what stands in the end is read.
//!
//! Invariant: a device that could not catch up in time is finished all the same: what it lacks is
//! then lost, which is the truth.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use heddle_proto::v1;
use heddle_sdk::{Client, ConversationId, Page};

use super::actor::view;
use super::{World, observe};
use crate::checker::{Final, History};
use crate::target::TargetError;

/// How long everything may take to be answered and received.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often is looked whether it is.
const POLL: Duration = Duration::from_millis(10);
/// Events read at a time.
const PAGE_SIZE: i32 = 500;

impl World {
    /// Ends the run; the history is complete.
    pub async fn settle(mut self) -> Result<History, TargetError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.home.send_replace(true);
        self.wait(|world| world.views.iter().all(|shared| view(shared).idle))
            .await;
        let heads = self.read_logs().await?;
        self.wait(|world| world.is_caught_up(&heads)).await;
        for user in 0..self.size.users {
            self.finish(user).await?;
        }
        self.tasks.shutdown().await;
        Ok(self.shared.recorder.take())
    }

    async fn wait(&self, is_done: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        while !is_done(self) && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }

    fn is_caught_up(&self, heads: &[u64]) -> bool {
        self.views.iter().enumerate().all(|(index, shared)| {
            let user = index / self.size.devices;
            let view = view(shared);
            heads.iter().enumerate().all(|(group, head)| {
                let is_member = self.shared.groups[group].members.contains(&user);
                !is_member || view.seen.get(&group).is_some_and(|seen| seen >= head)
            })
        })
    }

    /// Every log by its owner, who was there all the time: windows, and how far it goes.
    async fn read_logs(&self) -> Result<Vec<u64>, TargetError> {
        let mut heads = Vec::new();
        for (index, group) in self.shared.groups.iter().enumerate() {
            let owner = &self.shared.clients[group.members[0]];
            // One who left and was not brought back must be a member in the end.
            let others = group.members[1..]
                .iter()
                .map(|&user| self.shared.ids[user].clone());
            let added = owner.add_members(group.id, others.collect()).await;
            added.map_err(TargetError::refused("members could not be brought back"))?;
            let events = read(owner, group.id).await?;
            let mut history = self.shared.recorder.lock();
            observe::windows(&self.shared, index, &events, &mut history);
            heads.push(events.last().map_or(0, |event| event.seq));
        }
        Ok(heads)
    }

    /// What a user's devices show in the end.
    async fn finish(&self, user: usize) -> Result<(), TargetError> {
        let client = &self.shared.clients[user];
        let list = client.snapshot().await;
        let list = list.map_err(TargetError::refused("a list can't be read"))?;
        let groups = self.shared.groups.iter().enumerate();
        for (index, group) in groups.filter(|(_, group)| group.members.contains(&user)) {
            let asked_us = self.shared.now_us();
            let events = read(client, group.id).await?;
            let summary = list.conversations.iter().find(|summary| {
                let conversation = summary.conversation.as_ref();
                conversation.is_some_and(|conversation| {
                    conversation.conversation_id == group.id.as_bytes()[..]
                })
            });
            self.finished(user, index, &events, summary, asked_us);
        }
        Ok(())
    }

    fn finished(
        &self,
        user: usize,
        group: usize,
        events: &[v1::Event],
        summary: Option<&v1::ConversationSummary>,
        asked_us: u64,
    ) {
        let mut history = self.shared.recorder.lock();
        let states = events
            .iter()
            .filter_map(|event| observe::state(&self.shared, event));
        let messages: Vec<u32> = states.map(|state| history.message_state(state)).collect();
        // Delivered marks may still be on their way; read marks were answered.
        let marks = summary
            .map_or(&[][..], |summary| &summary.marks)
            .iter()
            .filter_map(|mark| Some((self.shared.user(&mark.user_id)?, 0, mark.read_seq)));
        let marks: Vec<(u32, u64, u64)> = marks.collect();
        for number in 0..self.size.devices {
            let device = (user * self.size.devices + number) as u32;
            if number == 0 {
                for event in events {
                    if let Some(event) = observe::event(&self.shared, event) {
                        history.read(device, event, asked_us);
                    }
                }
            }
            history.finished(Final {
                device,
                conversation: group as u32,
                read: summary.map_or(0, |summary| summary.read_seq),
                unread: Some(summary.map_or(u64::MAX, |summary| summary.unread_count)),
                marks: marks.clone(),
                messages: messages.clone(),
            });
        }
    }
}

async fn read(client: &Client, group: ConversationId) -> Result<Vec<v1::Event>, TargetError> {
    let mut events: Vec<v1::Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let page = client.history(group, Page::After(after), PAGE_SIZE).await;
        let page = page.map_err(TargetError::refused("a log can't be read"))?;
        let is_end = !page.more_after || page.events.is_empty();
        events.extend(page.events);
        if is_end {
            return Ok(events);
        }
    }
}
