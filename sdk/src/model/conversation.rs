//! One conversation as a member sees it.

use super::MessageView;
use crate::ConversationId;
use heddle_proto::v1::{self, ConversationKind, MembershipAction, Role, event, state_change};
use std::collections::{BTreeMap, BTreeSet};

/// How much is unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Others' messages since the user joined, after the read mark, not deleted.
    pub count: u64,
    /// False when messages were deleted before the snapshot, and the read mark now stands among
    /// them: the count may then be too small. A new snapshot, or reading on, makes it exact.
    pub is_exact: bool,
}

/// One conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationView {
    /// Its id.
    pub id: ConversationId,
    /// Direct or group.
    pub kind: ConversationKind,
    /// Title of a group.
    pub title: String,
    /// The members as far as events and snapshot told, with their roles.
    pub members: BTreeMap<String, Role>,
    /// How far each member has received and read, where it is told.
    pub marks: BTreeMap<String, v1::MarkState>,
    /// The messages known, by seq.
    pub messages: BTreeMap<u64, MessageView>,
    /// The newest seq due.
    pub last_seq: u64,
    /// Ordinal at that.
    pub last_ordinal: u64,
    /// The user's read mark.
    pub read_seq: u64,
    /// Ordinal at that.
    pub read_ordinal: u64,
    /// The first seq due.
    pub since_seq: u64,
    /// The first seq no longer due; 0: a member.
    pub until_seq: u64,
    /// The user's own settings.
    pub settings: v1::ConversationSettings,
    /// Deleted after the read mark.
    uncounted: BTreeSet<u64>,
    /// How many more were deleted before the snapshot, somewhere in `..=uncounted_until`.
    uncounted_unknown: u64,
    uncounted_until: u64,
    is_exact: bool,
}

impl ConversationView {
    /// Nothing known but the id.
    pub fn new(id: ConversationId) -> Self {
        Self {
            id,
            kind: ConversationKind::Unspecified,
            title: String::new(),
            members: BTreeMap::new(),
            marks: BTreeMap::new(),
            messages: BTreeMap::new(),
            last_seq: 0,
            last_ordinal: 0,
            read_seq: 0,
            read_ordinal: 0,
            since_seq: 0,
            until_seq: 0,
            settings: v1::ConversationSettings::default(),
            uncounted: BTreeSet::new(),
            uncounted_unknown: 0,
            uncounted_until: 0,
            is_exact: true,
        }
    }

    /// As a user's list shows it.
    pub fn from_summary(
        id: ConversationId,
        summary: &v1::ConversationSummary,
        user_id: &str,
    ) -> Self {
        let conversation = summary.conversation.clone().unwrap_or_default();
        let membership = summary.membership.clone().unwrap_or_default();
        let between = summary.last_ordinal.saturating_sub(summary.read_ordinal);
        let mut view = Self {
            kind: conversation.kind(),
            title: conversation.title,
            last_seq: summary.last_seq,
            last_ordinal: summary.last_ordinal,
            read_seq: summary.read_seq,
            read_ordinal: summary.read_ordinal,
            since_seq: membership.since_seq,
            until_seq: membership.until_seq,
            settings: summary.settings.clone().unwrap_or_default(),
            uncounted_until: summary.last_seq,
            ..Self::new(id)
        };
        if membership.until_seq == 0 {
            view.uncounted_unknown = between.saturating_sub(summary.unread_count);
            view.members.insert(user_id.to_owned(), Role::Unspecified);
        }
        for mark in &summary.marks {
            view.members.insert(mark.user_id.clone(), Role::Unspecified);
            view.marks.insert(mark.user_id.clone(), mark.clone());
        }
        if let Some(event) = &summary.last_message {
            view.add_history(event);
        }
        view
    }

    /// How much is unread.
    pub fn unread(&self) -> Unread {
        let between = self.last_ordinal.saturating_sub(self.read_ordinal);
        let deleted = self.uncounted.len() as u64 + self.uncounted_unknown;
        Unread {
            count: if self.is_member() {
                between.saturating_sub(deleted)
            } else {
                0
            },
            is_exact: self.is_exact,
        }
    }

    /// Whether the user is a member now.
    pub fn is_member(&self) -> bool {
        self.until_seq == 0
    }

    /// The newest message known.
    pub fn last_message(&self) -> Option<&MessageView> {
        self.messages.values().next_back()
    }

    /// Applies an event that is due to `user_id`.
    pub(super) fn apply_event(&mut self, event: &v1::Event, user_id: &str) {
        if let Some(event::Kind::Membership(change)) = &event.kind {
            self.membership(event, change, user_id);
        }
        self.last_seq = self.last_seq.max(event.seq);
        self.last_ordinal = self.last_ordinal.max(event.ordinal);
        match &event.kind {
            Some(event::Kind::Message(message)) => {
                let view = MessageView::new(event, message);
                // Read from the store after it was erased: the erasure's own event follows.
                self.messages.insert(event.seq, view);
                if event.sender == user_id {
                    self.move_mark(event.seq, event.ordinal);
                }
            }
            Some(event::Kind::Edit(edit)) => {
                if let (Some(target), Some(content)) =
                    (self.messages.get_mut(&edit.target_seq), &edit.message)
                {
                    target.edit(event.seq, content);
                }
            }
            Some(event::Kind::Erase(erase)) => {
                if let Some(target) = self.messages.get_mut(&erase.target_seq) {
                    target.erase();
                }
                self.uncount(erase.target_seq);
            }
            Some(event::Kind::Reaction(reaction)) => {
                if let Some(target) = self.messages.get_mut(&reaction.target_seq) {
                    target.react(&event.sender, reaction);
                }
            }
            Some(event::Kind::Settings(settings)) => self.title = settings.title.clone(),
            Some(event::Kind::Membership(_)) | None => {}
        }
    }

    /// Applies a change of the user's own state.
    pub(super) fn apply_state(&mut self, kind: &state_change::Kind, user_id: &str) {
        match kind {
            state_change::Kind::Mark(mark) => {
                if mark.user_id == user_id {
                    self.move_mark(mark.read_seq, mark.read_ordinal);
                }
                let known = self.marks.entry(mark.user_id.clone()).or_default();
                *known = v1::MarkState {
                    delivered_seq: known.delivered_seq.max(mark.delivered_seq),
                    read_seq: known.read_seq.max(mark.read_seq),
                    read_ordinal: known.read_ordinal.max(mark.read_ordinal),
                    ..mark.clone()
                };
            }
            state_change::Kind::Membership(membership) => {
                if membership.since_seq >= self.since_seq {
                    self.since_seq = membership.since_seq;
                    self.until_seq = membership.until_seq;
                }
                if membership.until_seq > 0 {
                    self.members.remove(user_id);
                }
            }
            state_change::Kind::Settings(settings) => self.settings = settings.clone(),
            state_change::Kind::Hidden(hidden) => {
                for seq in &hidden.seqs {
                    if let Some(message) = self.messages.get_mut(seq) {
                        message.hidden = true;
                    }
                    self.uncount(*seq);
                }
            }
        }
    }

    /// Adds a message read from history.
    pub(super) fn add_history(&mut self, event: &v1::Event) {
        if let Some(event::Kind::Message(message)) = &event.kind {
            let view = MessageView::new(event, message);
            self.messages.entry(event.seq).or_insert(view);
        }
    }

    pub(super) fn forget_messages_beyond(&mut self, messages_max: usize) {
        while self.messages.len() > messages_max {
            self.messages.pop_first();
        }
    }

    fn membership(&mut self, event: &v1::Event, change: &v1::MembershipChange, user_id: &str) {
        let concerns_me = change.user_ids.iter().any(|one| one == user_id);
        match change.action() {
            MembershipAction::Created => {
                self.kind = change.conversation_kind();
                self.title = change.title.clone();
                self.join(event);
                self.add(change);
                self.members.insert(event.sender.clone(), Role::Owner);
            }
            MembershipAction::Added => {
                if concerns_me && (self.since_seq == 0 || !self.is_member()) {
                    self.join(event);
                }
                self.add(change);
            }
            MembershipAction::RoleSet => self.add(change),
            MembershipAction::Removed => {
                for one in &change.user_ids {
                    self.members.remove(one);
                }
            }
            MembershipAction::Left => {
                self.members.remove(&event.sender);
            }
            MembershipAction::Unspecified => {}
        }
    }

    fn add(&mut self, change: &v1::MembershipChange) {
        for one in &change.user_ids {
            self.members.insert(one.clone(), change.role());
        }
    }

    /// A new or renewed membership starts with nothing unread.
    fn join(&mut self, event: &v1::Event) {
        self.since_seq = event.seq;
        self.until_seq = 0;
        self.read_seq = event.seq.saturating_sub(1);
        self.read_ordinal = event.ordinal;
        self.last_ordinal = event.ordinal;
        self.uncounted.clear();
        self.uncounted_unknown = 0;
        self.is_exact = true;
    }

    fn move_mark(&mut self, seq: u64, ordinal: u64) {
        if seq <= self.read_seq {
            return;
        }
        self.read_seq = seq;
        self.read_ordinal = ordinal;
        self.uncounted = self.uncounted.split_off(&(seq + 1));
        if seq >= self.uncounted_until {
            self.uncounted_unknown = 0;
            self.is_exact = true;
        } else if self.uncounted_unknown > 0 {
            self.is_exact = false;
        }
    }

    fn uncount(&mut self, seq: u64) {
        let counts = seq > self.read_seq && seq <= self.last_seq && seq >= self.since_seq;
        if counts && self.uncounted.insert(seq) {
            // It may be one of those that were deleted before the snapshot, and deleted again.
            self.is_exact &= self.uncounted_unknown == 0 || seq > self.uncounted_until;
        }
    }
}
