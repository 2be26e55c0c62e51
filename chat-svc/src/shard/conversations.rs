//! Commands to conversations: append, mark, read, typing and signals.
//!
//! Finds the conversation (or has it loaded), asks it, and puts what follows into the batch.

use super::{
    Shard,
    batch::{Outcome, Told},
    edges::Edge,
    mailboxes::Waiting,
    marks::MarkProgress,
    open::OpenWork,
    overloaded, read_only,
    reads::Purpose,
};
use crate::conversation::{Appended, Conversation, Decision, Loaded, NeedsFact};
use heddle_kit::FastMap;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        AppendCommand, Command, EphemeralCommand, GrantCommand, GrantResult, NoteRow, command::Op,
        command_result::Outcome as Answer,
    },
};
use std::sync::Arc;

/// A conversation in memory, or on its way there.
pub(super) enum ConversationSlot {
    /// Being read from the store.
    Loading(Loading),
    /// Loaded.
    Ready(Box<Live>),
}

/// What has come of a conversation so far, and who waits for it.
#[derive(Default)]
pub(super) struct Loading {
    pub parts_left: u32,
    pub tail_begun: bool,
    /// seq of the first event of the log's last row; 0: it is empty.
    pub last_row_seq: u64,
    pub loaded: Loaded,
    pub waiting: Vec<Waiting>,
}

/// A conversation, and what is under way for it.
pub(super) struct Live {
    pub conversation: Conversation,
    pub open: OpenWork,
    pub marks: FastMap<String, MarkProgress>,
    /// What was committed while the log is fanned out again: it must not overtake that.
    pub held: Option<Vec<Told>>,
    pub used_ms: u64,
}

/// Whether the owner of a conversation decides about it, rather than that of a mailbox.
pub(super) fn decides(op: &Op) -> bool {
    matches!(
        op,
        Op::Append(_) | Op::Mark(_) | Op::Grant(_) | Op::Ephemeral(_)
    )
}

impl Live {
    pub fn new(conversation: Conversation) -> Self {
        Self {
            conversation,
            open: OpenWork::default(),
            marks: FastMap::default(),
            held: None,
            used_ms: 0,
        }
    }
}

impl Shard {
    pub(super) fn conversation_command(&mut self, edge: &Arc<Edge>, command: Box<Command>) {
        let Some(log) = LogId::from_wire(&command.log_id) else {
            return edge.refuse(
                command.id,
                &Fault::field("conversation_id", "has not 16 bytes"),
            );
        };
        match self.conversations.get_mut(&log) {
            Some(ConversationSlot::Ready(_)) if self.batch.is_full() => {
                self.room.push(edge, command);
            }
            Some(ConversationSlot::Ready(_)) => self.decide(log, edge, command),
            Some(ConversationSlot::Loading(loading)) => {
                if loading.waiting.len() >= self.around.config.waiting_max {
                    return self.turn_away(edge, *command, &overloaded());
                }
                loading
                    .waiting
                    .push(Waiting::Command(edge.clone(), command));
            }
            None => self.load_conversation(log, vec![Waiting::Command(edge.clone(), command)]),
        }
    }

    /// The conversation is loaded: asks it.
    fn decide(&mut self, log: LogId, edge: &Arc<Edge>, mut command: Box<Command>) {
        match command.op.take() {
            Some(Op::Append(append)) => self.append(log, edge, command, append),
            Some(Op::Mark(report)) => self.mark(log, edge, command, report),
            Some(Op::Grant(ask)) => {
                let outcome = match self.grant(&log, &command.user_id, &ask) {
                    Ok(grant) => Answer::Grant(grant),
                    Err(fault) => Answer::Error(fault.to_wire()),
                };
                self.batch.answer(edge, command.id, Outcome::Ready(outcome));
            }
            Some(Op::Ephemeral(ephemeral)) => self.pass_on(log, edge, *command, ephemeral),
            _ => {}
        }
    }

    fn append(
        &mut self,
        log: LogId,
        edge: &Arc<Edge>,
        mut command: Box<Command>,
        append: Box<AppendCommand>,
    ) {
        let now_ms = self.now_ms();
        if now_ms < self.read_only_until_ms {
            return edge.refuse(command.id, &read_only("a write was refused a moment ago"));
        }
        let members_max = self.around.config.group_members_max;
        let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(&log) else {
            return;
        };
        live.used_ms = now_ms;
        let (user_id, device_id) = (&command.user_id, &command.device_id);
        let decision = live
            .conversation
            .append(user_id, device_id, &append, now_ms, members_max);
        let answer = match decision {
            Ok(Decision::Append(appended)) => {
                let result = appended.result;
                self.accept(log, *appended, &append.trace_parent, now_ms);
                Answer::Append(result)
            }
            Ok(Decision::Answer(result)) => Answer::Append(result),
            Ok(Decision::Needs(needs)) => {
                command.op = Some(Op::Append(append));
                return self.fetch(log, needs, edge, command);
            }
            Err(fault) => Answer::Error(fault.to_wire()),
        };
        if command.id > 0 {
            self.batch.answer(edge, command.id, Outcome::Ready(answer));
        }
    }

    /// Puts an accepted event and its consequences into the batch.
    fn accept(&mut self, log: LogId, appended: Appended, traced: &str, now_ms: u64) {
        let Appended {
            event,
            mut fan_out,
            cells,
            blanks,
            states,
            result,
        } = appended;
        self.batch.event(&log, result.seq, event);
        self.batch.cells(cells);
        self.batch.blanks(blanks);
        fan_out.trace_parent = self.trace_append(traced);
        let Some(told) = self.told(&log, result.seq) else {
            return;
        };
        told.events.push(fan_out);
        told.states.extend(states);
        self.note(&log, now_ms);
    }

    /// What the conversation tells with this batch; begins a range of open work if it is the first.
    pub(super) fn told(&mut self, log: &LogId, first_seq: u64) -> Option<&mut Told> {
        let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(log) else {
            return None;
        };
        Some(self.batch.told.entry(*log).or_insert_with(|| {
            let range = live.open.begin(first_seq);
            Told {
                range,
                ..Told::default()
            }
        }))
    }

    /// Notes, once a window, that the log has open work.
    pub(super) fn note(&mut self, log: &LogId, now_ms: u64) {
        let window = now_ms / u64::from(self.around.config.note_window_ms.max(1));
        let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(log) else {
            return;
        };
        if live.open.noted_window == window {
            return;
        }
        live.open.noted_window = window;
        let from_seq = live.open.from_seq(live.conversation.head_seq() + 1);
        let row = NoteRow {
            log_id: log.to_bytes(),
            from_seq,
            ..Default::default()
        };
        self.write_note(window, &row);
    }

    /// Reads what a command needs, and asks again then.
    pub(super) fn fetch(
        &mut self,
        log: LogId,
        needs: NeedsFact,
        edge: &Arc<Edge>,
        command: Box<Command>,
    ) {
        let waiting = (edge.clone(), command);
        match needs {
            NeedsFact::Event(seq) => self.read_fact(log, seq, waiting),
            NeedsFact::IdsSince(since_ms) => self.read_ids(log, since_ms, waiting),
        }
    }

    fn grant(&self, log: &LogId, user_id: &str, ask: &GrantCommand) -> Result<GrantResult, Fault> {
        let stranger = || Fault::not_found("conversation");
        let Some(ConversationSlot::Ready(live)) = self.conversations.get(log) else {
            return Err(stranger());
        };
        let conversation = &live.conversation;
        let person = conversation.roster.person(user_id).ok_or_else(stranger)?;
        let head_seq = conversation.head_seq();
        let members_max = ask.members_max as usize;
        let page = conversation.roster.members_after(&ask.after_user_id);
        let mut members: Vec<_> = page.take(members_max + 1).cloned().collect();
        let more = members.len() > members_max;
        members.truncate(members_max);
        let is_member = person.current().is_some();
        Ok(GrantResult {
            head_seq,
            ranges: conversation.roster.due_ranges(user_id, head_seq),
            conversation: Some(conversation.row.clone()),
            membership: person.last().cloned(),
            members: if is_member { members } else { Vec::new() },
            member_count: conversation.roster.member_count() as u32,
            more: more && is_member,
        })
    }

    fn pass_on(
        &mut self,
        log: LogId,
        edge: &Arc<Edge>,
        command: Command,
        ephemeral: EphemeralCommand,
    ) {
        let Some(ConversationSlot::Ready(live)) = self.conversations.get(&log) else {
            return;
        };
        if live.conversation.roster.member(&command.user_id).is_none() {
            let fault = Fault::not_found("conversation").to_wire();
            let outcome = Outcome::Ready(Answer::Error(fault));
            return self.batch.answer(edge, command.id, outcome);
        }
        self.batch
            .ephemerals
            .push((log, command.user_id, ephemeral));
        self.done(edge, command.id);
    }

    /// A loaded conversation serves who waited for it. From `unnoted_seq` on (0: from nowhere) it
    /// may have work open that no note tells of.
    pub(super) fn conversation_ready(
        &mut self,
        log: LogId,
        conversation: Conversation,
        unnoted_seq: u64,
    ) {
        let live = Box::new(Live {
            used_ms: self.now_ms(),
            open: OpenWork::after(self.next_id),
            ..Live::new(conversation)
        });
        let slot = self
            .conversations
            .insert(log, ConversationSlot::Ready(live));
        self.start_recovery(log, unnoted_seq);
        if let Some(ConversationSlot::Loading(loading)) = slot {
            for waiting in loading.waiting {
                if let Waiting::Command(edge, command) = waiting {
                    self.conversation_command(&edge, command);
                }
            }
        }
    }

    /// Refuses who waits for what `purpose` was read for.
    pub(super) fn refuse_waiting(&mut self, purpose: Purpose, fault: &Fault) {
        let waiting = match purpose {
            Purpose::Conversation(log, _) => match self.conversations.remove(&log) {
                Some(ConversationSlot::Loading(loading)) => loading.waiting,
                Some(ready) => {
                    self.conversations.insert(log, ready);
                    Vec::new()
                }
                None => Vec::new(),
            },
            Purpose::Mailbox(user, _) => self.drop_loading_mailbox(&user),
            Purpose::Fact(fact) => vec![Waiting::Command(fact.waiting.0, fact.waiting.1)],
            Purpose::Ids(ids) => {
                let waiting = ids.into_waiting();
                waiting
                    .map(|(edge, it)| Waiting::Command(edge, it))
                    .collect()
            }
            Purpose::Hide(hide) => vec![Waiting::Command(hide.waiting.0, hide.waiting.1)],
            Purpose::Hole(user, piece) => return self.hole_unread(&user, piece, fault),
            Purpose::Stuck(reading) => {
                let (edge, command) = reading.waiting;
                self.held.unblock(&command.user_id);
                vec![Waiting::Command(edge, command)]
            }
            Purpose::Recover(recover) => {
                self.recover_later(recover, fault);
                Vec::new()
            }
            Purpose::Preview(preview) => {
                self.preview_failed(&preview);
                Vec::new()
            }
        };
        for waiting in waiting {
            match waiting {
                Waiting::Command(edge, command) => self.turn_away(&edge, *command, fault),
                Waiting::Piece(piece) => self.held.push(piece),
            }
        }
    }
}
