//! The end of a run: everyone comes back, everything is answered, what stands in the end is read.
//!
//! Invariant: a device that could not catch up in time is finished all the same: what it lacks is
//! then lost, which is the truth.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use heddle_proto::v1;

use super::actor::view;
use super::{World, observe};
use crate::checker::{Final, History};
use crate::target::TargetError;
use crate::target::conversation::{is_message, read_log};

/// How long everything may take to be answered and received.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often is looked whether it is.
const POLL: Duration = Duration::from_millis(10);

impl World {
    /// Ends the run; the history is complete.
    pub async fn settle(mut self) -> Result<History, TargetError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.home.send_replace(true);
        self.wait(|world| world.views.iter().all(|shared| view(shared).idle))
            .await;
        let logs = self.read_logs().await?;
        let heads: Vec<u64> = logs.iter().map(|events| head(events)).collect();
        self.wait(|world| world.is_caught_up(&heads)).await;
        let due = self.receipts_due(&logs);
        self.wait(|world| world.is_told(&due)).await;
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

    /// By group and user: the last message of another, which everyone has received by now.
    fn receipts_due(&self, logs: &[Vec<v1::Event>]) -> Vec<((usize, u32), u64)> {
        let mut due = Vec::new();
        for (index, events) in logs.iter().enumerate() {
            let messages = events.iter().rev().filter(|event| is_message(event));
            let messages: Vec<_> = messages.collect();
            for &user in &self.shared.groups[index].members {
                let id = &self.shared.ids[user];
                let since = since(events, id);
                let due_to = |event: &&&v1::Event| event.sender != *id && event.seq >= since;
                if let Some(last) = messages.iter().find(due_to) {
                    due.push(((index, user as u32), last.seq));
                }
            }
        }
        due
    }

    /// Somebody was told that each of these is delivered, or sees it from a later message.
    fn is_told(&self, due: &[((usize, u32), u64)]) -> bool {
        due.iter().all(|(whose, seq)| {
            let told = |shared| {
                view(shared)
                    .delivered
                    .get(whose)
                    .is_some_and(|it| it >= seq)
            };
            self.views.iter().any(told)
        })
    }

    /// Every log by its owner, who was there all the time; windows follow from it.
    async fn read_logs(&self) -> Result<Vec<Vec<v1::Event>>, TargetError> {
        let mut logs = Vec::new();
        for (index, group) in self.shared.groups.iter().enumerate() {
            let owner = &self.shared.clients[group.members[0]];
            // One who left and was not brought back must be a member in the end.
            let others = group.members[1..]
                .iter()
                .map(|&user| self.shared.ids[user].clone());
            let added = owner.add_members(group.id, others.collect()).await;
            added.map_err(TargetError::refused("members could not be brought back"))?;
            let events = read_log(owner, group.id).await?;
            let mut history = self.shared.recorder.lock();
            observe::windows(&self.shared, index, &events, &mut history);
            drop(history);
            logs.push(events);
        }
        Ok(logs)
    }

    /// What a user's devices show in the end.
    async fn finish(&self, user: usize) -> Result<(), TargetError> {
        let client = &self.shared.clients[user];
        let list = client.snapshot().await;
        let list = list.map_err(TargetError::refused("a list can't be read"))?;
        // What history tells is judged by itself: it must not stand in for what a session lost.
        let name = format!("{} history", self.shared.ids[user]);
        let reader = self.shared.recorder.lock().device(user as u32, name);
        let groups = self.shared.groups.iter().enumerate();
        for (index, group) in groups.filter(|(_, group)| group.members.contains(&user)) {
            let asked_us = self.shared.now_us();
            let events = read_log(client, group.id).await?;
            let summary = list.conversations.iter().find(|summary| {
                let conversation = summary.conversation.as_ref();
                conversation.is_some_and(|conversation| {
                    conversation.conversation_id == group.id.as_bytes()[..]
                })
            });
            let mut history = self.shared.recorder.lock();
            for event in events.iter() {
                let event = observe::event(&self.shared, event);
                event
                    .into_iter()
                    .for_each(|it| history.read(reader, it, asked_us));
            }
            drop(history);
            self.finished(user, index, &events, summary);
        }
        Ok(())
    }

    fn finished(
        &self,
        user: usize,
        group: usize,
        events: &[v1::Event],
        summary: Option<&v1::ConversationSummary>,
    ) {
        let mut history = self.shared.recorder.lock();
        let states = events
            .iter()
            .filter_map(|event| observe::state(&self.shared, event));
        let messages: Vec<u32> = states.map(|state| history.message_state(state)).collect();
        // Delivered marks may still move as devices acknowledge; read marks were answered.
        let marks = summary
            .map_or(&[][..], |summary| &summary.marks)
            .iter()
            .filter_map(|mark| Some((self.shared.user(&mark.user_id)?, 0, mark.read_seq)));
        let marks: Vec<(u32, u64, u64)> = marks.collect();
        for number in 0..self.size.devices {
            let device = (user * self.size.devices + number) as u32;
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

fn head(events: &[v1::Event]) -> u64 {
    events.last().map_or(0, |event| event.seq)
}

/// Where a member's present stay begins.
fn since(events: &[v1::Event], id: &str) -> u64 {
    use v1::MembershipAction::{Added, Created};
    let begins = |event: &&v1::Event| match &event.kind {
        Some(v1::event::Kind::Membership(change)) => {
            let named = change.user_ids.iter().any(|user| user == id);
            let made = change.action() == Created && event.sender == *id;
            made || named && matches!(change.action(), Added | Created)
        }
        _ => false,
    };
    events
        .iter()
        .rev()
        .find(begins)
        .map_or(0, |event| event.seq)
}
