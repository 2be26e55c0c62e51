//! Appending: from a command to an accepted event with everything that follows from it, or to the
//! reason why not.
//!
//! The order of checks is the order of promises: membership (P7), known id (P3), predecessor
//! (P3), rules; then the event is built and the state moves.
//!
//! Invariant: a refusal changes nothing.

use super::{
    Conversation,
    event::{self, Origin, body_fingerprint},
    index::{Index, Known, Verdict},
    tail::Fact,
};
use crate::cells;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    ids::MessageId,
    internal::{
        AppendCommand, AppendResult, Blank, Cell, FanOutEvent, FanOutState, RawEvent,
        append_command, raw_event::Kind,
    },
    v1::{self, ErrorReason, MembershipAction},
};
use prost::Message as _;

/// What is to be done about a command.
#[derive(Debug)]
pub enum Decision {
    /// Nothing is appended; this is the answer.
    Answer(AppendResult),
    /// An event is appended.
    Append(Box<Appended>),
    /// Something must be read first; then ask again.
    Needs(NeedsFact),
}

/// What must be read before a command can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedsFact {
    /// The event at this seq, and what became of it.
    Event(u64),
    /// The ids of all events stored since this time, in milliseconds since the Unix epoch.
    IdsSince(u64),
}

/// An accepted event and all that follows from it.
#[derive(Debug)]
pub struct Appended {
    /// The event as it is stored and sent.
    pub event: Bytes,
    /// What mailboxes need of it.
    pub fan_out: FanOutEvent,
    /// Rows of projections that change with it.
    pub cells: Vec<Cell>,
    /// Bodies that go with it.
    pub blanks: Vec<Blank>,
    /// Changes of state of single mailboxes: who was removed is told so.
    pub states: Vec<FanOutState>,
    /// The answer once it is committed.
    pub result: AppendResult,
}

/// What follows from an event beside the event.
#[derive(Default)]
pub(super) struct Consequences {
    pub cells: Vec<Cell>,
    pub blanks: Vec<Blank>,
    pub states: Vec<FanOutState>,
}

impl Conversation {
    /// Decides about a command that arrived at `now_ms`; a group has at most `members_max`.
    pub fn append(
        &mut self,
        user_id: &str,
        device_id: &str,
        command: &AppendCommand,
        now_ms: u64,
        members_max: usize,
    ) -> Result<Decision, Fault> {
        let kind = kind_of(command)?;
        let creates = matches!(&kind, Kind::Membership(change)
            if change.action() == MembershipAction::Created);
        if !creates || self.exists() {
            self.known_person_or_not_found(user_id)?;
        }
        let id = message_id(&command.client_message_id, "client_message_id")?;
        let fingerprint = body_fingerprint(user_id, &kind);
        match self.index.verdict(&id) {
            Verdict::Known(known) => {
                let same = known.fingerprint == fingerprint
                    || Some(known.fingerprint) == event::erased_fingerprint(user_id, &kind);
                return known_answer(known, same);
            }
            Verdict::Unsure => return Ok(needs_ids(&id)),
            Verdict::Fresh => {}
        }
        if creates && self.exists() {
            let result = AppendResult {
                seq: 0,
                time_ms: self.time_ms,
            };
            return Ok(Decision::Answer(result));
        }
        if let Some(needs) = self.check_predecessor(command)? {
            return Ok(needs);
        }
        let time_ms = now_ms.max(self.time_ms);
        let client_message_id = &command.client_message_id;
        let origin = Origin {
            user_id,
            device_id,
            client_message_id,
            time_ms,
        };
        self.decide(origin, id, fingerprint, command, kind, members_max)
    }

    /// A retry's first answer is due to a former member too; anything else is decided by role.
    fn known_person_or_not_found(&self, user_id: &str) -> Result<(), Fault> {
        match self.roster.person(user_id) {
            Some(_) => Ok(()),
            None => Err(Fault::not_found("conversation")),
        }
    }

    fn check_predecessor(&self, command: &AppendCommand) -> Result<Option<Decision>, Fault> {
        if command.predecessor_id.is_empty() {
            return Ok(None);
        }
        let predecessor = message_id(&command.predecessor_id, "predecessor_id")?;
        match self.index.verdict(&predecessor) {
            Verdict::Known(_) => Ok(None),
            Verdict::Unsure => Ok(Some(needs_ids(&predecessor))),
            Verdict::Fresh => Err(Fault::new(
                ErrorReason::PredecessorFailed,
                "the send named as predecessor was not taken; retry it first, then this one",
            )),
        }
    }

    fn decide(
        &mut self,
        origin: Origin<'_>,
        id: MessageId,
        fingerprint: u64,
        command: &AppendCommand,
        kind: Kind,
        members_max: usize,
    ) -> Result<Decision, Fault> {
        let seq = self.head_seq + 1;
        let mut kind = kind;
        let mut consequences = Consequences::default();
        let instead = match target_of(&kind) {
            Some(target) => self.overlay(origin, seq, target, &mut kind, &mut consequences)?,
            None => self.change(origin, seq, &mut kind, members_max, &mut consequences)?,
        };
        if let Some(instead) = instead {
            return Ok(instead);
        }
        let known = Known {
            seq,
            time_ms: origin.time_ms,
            fingerprint,
        };
        Ok(Decision::Append(Box::new(self.accept(
            origin,
            id,
            known,
            command,
            kind,
            consequences,
        ))))
    }

    /// What an edit, an erasure or a reaction makes of its target; or the decision that nothing is
    /// appended yet.
    fn overlay(
        &self,
        origin: Origin<'_>,
        seq: u64,
        target: u64,
        kind: &mut Kind,
        consequences: &mut Consequences,
    ) -> Result<Option<Decision>, Fault> {
        let Some(fact) = self.fact(target) else {
            return Ok(Some(Decision::Needs(NeedsFact::Event(target))));
        };
        let member = self.member_or_not_found(origin.user_id)?;
        self.target(member, target, &fact)?;
        match kind {
            Kind::Edit(edit) => {
                self.may_edit(member, &fact)?;
                let edited = self.edited(seq, origin.time_ms, edit, &fact);
                consequences.cells.push(edited);
            }
            Kind::Erase(erase) => {
                self.may_erase(member, &fact)?;
                erase.target_sender.clone_from(&fact.sender);
                erase.target_ordinal = fact.ordinal;
                self.erased(consequences, seq, origin.time_ms, target, &fact);
            }
            Kind::Reaction(_) if fact.erased => return Err(Fault::not_found("message")),
            Kind::Reaction(reaction) => {
                consequences.cells.push(self.reacted(seq, origin, reaction));
            }
            Kind::Message(_) | Kind::Membership(_) | Kind::Settings(_) => {}
        }
        Ok(None)
    }

    /// What an event without a target changes; or the answer when there is nothing to append.
    fn change(
        &mut self,
        origin: Origin<'_>,
        seq: u64,
        kind: &mut Kind,
        members_max: usize,
        consequences: &mut Consequences,
    ) -> Result<Option<Decision>, Fault> {
        match kind {
            Kind::Membership(change) => {
                if !self.membership(origin, seq, change, members_max, consequences)? {
                    let result = AppendResult {
                        seq: 0,
                        time_ms: origin.time_ms,
                    };
                    return Ok(Some(Decision::Answer(result)));
                }
            }
            Kind::Settings(settings) => {
                let member = self.member_or_not_found(origin.user_id)?;
                self.may_manage(member, "changing the title")?;
                self.row.title.clone_from(&settings.title);
                self.row.seq = seq;
                let row = cells::conversation(&self.id, &self.row);
                consequences.cells.push(row);
            }
            Kind::Message(_) | Kind::Edit(_) | Kind::Erase(_) | Kind::Reaction(_) => {
                self.member_or_not_found(origin.user_id)?;
            }
        }
        Ok(None)
    }

    /// Builds the event and moves the state.
    fn accept(
        &mut self,
        origin: Origin<'_>,
        id: MessageId,
        known: Known,
        command: &AppendCommand,
        kind: Kind,
        consequences: Consequences,
    ) -> Appended {
        let ordinal = self.ordinal + u64::from(matches!(kind, Kind::Message(_)));
        let raw = event::compose(&self.id, known.seq, ordinal, origin, kind);
        let bytes = Bytes::from(raw.encode_to_vec());
        let mut fan_out = match &raw.kind {
            // The gateway has decoded the message already: its mentions need not be read again.
            Some(Kind::Message(_)) => event::fan_out_of_message(&raw, bytes.clone(), command),
            _ => event::fan_out(&raw, bytes.clone()),
        };
        fan_out.time_ms = origin.time_ms;
        self.take_in(&raw, id, known);
        let result = AppendResult {
            seq: known.seq,
            time_ms: known.time_ms,
        };
        let Consequences {
            cells,
            blanks,
            states,
        } = consequences;
        Appended {
            event: bytes,
            fan_out,
            cells,
            blanks,
            states,
            result,
        }
    }

    /// Moves head, ordinal, time, index, tail and the sender's own mark over an event.
    pub(super) fn take_in(&mut self, raw: &RawEvent, id: MessageId, known: Known) {
        self.head_seq = raw.seq;
        self.ordinal = raw.ordinal;
        self.time_ms = known.time_ms;
        self.index.insert(id, known);
        match &raw.kind {
            Some(Kind::Edit(edit)) => {
                if let Some(fact) = self.tail.get_mut(edit.target_seq) {
                    fact.edit_seqs.push(raw.seq);
                }
            }
            Some(Kind::Erase(erase)) => {
                if let Some(fact) = self.tail.get_mut(erase.target_seq) {
                    fact.erased = true;
                }
            }
            _ => {}
        }
        self.tail.push(Fact::of(raw));
        if matches!(raw.kind, Some(Kind::Message(_))) {
            self.move_own_mark(&raw.sender, raw.seq, raw.ordinal);
        }
    }

    fn fact(&self, seq: u64) -> Option<Fact> {
        if seq == 0 || seq > self.head_seq {
            // No such event: a fact that is no message is refused as not found.
            return Some(Fact::default());
        }
        self.tail.get(seq).cloned()
    }
}

/// The message that an event of this kind is about.
fn target_of(kind: &Kind) -> Option<u64> {
    match kind {
        Kind::Edit(edit) => Some(edit.target_seq),
        Kind::Erase(erase) => Some(erase.target_seq),
        Kind::Reaction(reaction) => Some(reaction.target_seq),
        Kind::Message(_) | Kind::Membership(_) | Kind::Settings(_) => None,
    }
}

fn kind_of(command: &AppendCommand) -> Result<Kind, Fault> {
    use append_command::Kind as Asked;
    Ok(match command.kind.clone() {
        Some(Asked::Message(message)) => Kind::Message(message),
        Some(Asked::Edit(edit)) => Kind::Edit(edit),
        Some(Asked::Erase(erase)) => Kind::Erase(v1::Erase {
            target_seq: erase.target_seq,
            ..Default::default()
        }),
        Some(Asked::Reaction(reaction)) => Kind::Reaction(reaction),
        Some(Asked::Membership(change)) => Kind::Membership(change),
        Some(Asked::Settings(settings)) => Kind::Settings(settings),
        None => {
            return Err(Fault::field(
                "append.kind",
                "this server does not know the kind",
            ));
        }
    })
}

fn message_id(bytes: &Bytes, field: &str) -> Result<MessageId, Fault> {
    MessageId::from_wire(bytes).ok_or_else(|| Fault::field(field, "is not a UUID of version 7"))
}

fn known_answer(known: Known, same_body: bool) -> Result<Decision, Fault> {
    if same_body {
        let result = AppendResult {
            seq: known.seq,
            time_ms: known.time_ms,
        };
        return Ok(Decision::Answer(result));
    }
    let text = "this client_message_id was used with another body; mint a new one";
    Err(Fault::new(ErrorReason::IdReused, text))
}

fn needs_ids(id: &MessageId) -> Decision {
    Decision::Needs(NeedsFact::IdsSince(Index::earliest_ms(id)))
}
