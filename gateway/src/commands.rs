//! Commands: what a client's request asks of an owner, once it has been validated.
//!
//! Pure. Frames of sessions and their unary twins come here alike; `shard_link` carries the result
//! to the owner of `log`, `answers` turns what the owner says into the response.
//!
//! Invariant: content goes on as the bytes in which it came.

use crate::validate::{At, Rules};
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    ids::{LogId, NAME_BYTES_MAX},
    internal::{
        AppendCommand, EditAppend, EphemeralCommand, ForegroundCommand, HideCommand, MarkCommand,
        RawEditMessageRequest, RawSendMessageRequest, append_command, command::Op,
        ephemeral_command,
    },
    v1,
};

const REACTION_BYTES_MAX: usize = 64;
const HIDDEN_MAX: usize = 100;
const SIGNAL_USERS_MAX: usize = 1_000;

/// A command and the log whose owner decides.
pub struct Ask {
    /// The log.
    pub log: LogId,
    /// What is asked.
    pub op: Op,
}

/// Appends to a conversation.
pub fn append(log: LogId, client_message_id: Bytes, kind: append_command::Kind) -> Ask {
    let append = AppendCommand {
        client_message_id,
        kind: Some(kind),
        ..Default::default()
    };
    Ask {
        log,
        op: Op::Append(Box::new(append)),
    }
}

/// Sends a message.
pub fn send(
    at: At,
    rules: &Rules<'_>,
    request: RawSendMessageRequest,
    trusted: bool,
) -> Result<Ask, Fault> {
    let log = at.conversation(&request.conversation_id)?;
    rules.message_id(at, &request.client_message_id)?;
    at.predecessor(&request.predecessor_id)?;
    let mentions = rules.message(at, &request.message, trusted)?;
    let append = AppendCommand {
        client_message_id: request.client_message_id,
        predecessor_id: request.predecessor_id,
        mentioned_user_ids: mentions.user_ids,
        mentions_all: mentions.all,
        kind: Some(append_command::Kind::Message(request.message)),
        ..Default::default()
    };
    Ok(Ask {
        log,
        op: Op::Append(Box::new(append)),
    })
}

/// Gives a message another content.
pub fn edit(
    at: At,
    rules: &Rules<'_>,
    request: RawEditMessageRequest,
    trusted: bool,
) -> Result<Ask, Fault> {
    let log = at.conversation(&request.conversation_id)?;
    rules.message_id(at, &request.client_message_id)?;
    at.seq("target_seq", request.target_seq)?;
    let mentions = rules.message(at, &request.message, trusted)?;
    let edit = EditAppend {
        target_seq: request.target_seq,
        message: request.message,
    };
    let append = AppendCommand {
        client_message_id: request.client_message_id,
        mentioned_user_ids: mentions.user_ids,
        mentions_all: mentions.all,
        kind: Some(append_command::Kind::Edit(edit)),
        ..Default::default()
    };
    Ok(Ask {
        log,
        op: Op::Append(Box::new(append)),
    })
}

/// Deletes a message for everyone.
pub fn erase(at: At, rules: &Rules<'_>, request: v1::EraseMessageRequest) -> Result<Ask, Fault> {
    let log = at.conversation(&request.conversation_id)?;
    rules.message_id(at, &request.client_message_id)?;
    at.seq("target_seq", request.target_seq)?;
    let erase = append_command::Kind::Erase(v1::Erase {
        target_seq: request.target_seq,
        ..Default::default()
    });
    Ok(append(log, request.client_message_id, erase))
}

/// Gives a reaction or takes it back.
pub fn react(at: At, rules: &Rules<'_>, request: v1::ReactRequest) -> Result<Ask, Fault> {
    let log = at.conversation(&request.conversation_id)?;
    rules.message_id(at, &request.client_message_id)?;
    at.seq("target_seq", request.target_seq)?;
    at.bytes("key", request.key.len(), 1, REACTION_BYTES_MAX)?;
    let reaction = v1::Reaction {
        target_seq: request.target_seq,
        key: request.key,
        removed: request.remove,
    };
    let kind = append_command::Kind::Reaction(reaction);
    Ok(append(log, request.client_message_id, kind))
}

/// Says how far the user has read.
pub fn mark(at: At, request: v1::MarkRequest) -> Result<Ask, Fault> {
    let log = at.conversation(&request.conversation_id)?;
    at.seq("read_seq", request.read_seq)?;
    let mark = MarkCommand {
        read_seq: request.read_seq,
        ..Default::default()
    };
    Ok(Ask {
        log,
        op: Op::Mark(mark),
    })
}

/// Deletes messages for oneself.
pub fn hide(at: At, mailbox: LogId, request: v1::HideMessagesRequest) -> Result<Ask, Fault> {
    at.conversation(&request.conversation_id)?;
    at.count("seqs", request.seqs.len(), 1, HIDDEN_MAX)?;
    for (index, seq) in request.seqs.iter().enumerate() {
        at.seq(&format!("seqs[{index}]"), *seq)?;
    }
    let hide = HideCommand {
        conversation_id: request.conversation_id,
        seqs: request.seqs,
        ..Default::default()
    };
    Ok(Ask {
        log: mailbox,
        op: Op::Hide(hide),
    })
}

/// Shows others that the user types.
pub fn typing(at: At, user_id: &str, request: v1::SendTypingRequest) -> Result<Ask, Fault> {
    let log = at.conversation(&request.conversation_id)?;
    let typing = v1::Typing {
        conversation_id: request.conversation_id,
        user_id: user_id.to_owned(),
        active: request.active,
    };
    let kind = Some(ephemeral_command::Kind::Typing(typing));
    Ok(Ask {
        log,
        op: Op::Ephemeral(EphemeralCommand {
            user_ids: Vec::new(),
            kind,
        }),
    })
}

/// Sends a signal that is never stored.
pub fn signal(
    at: At,
    rules: &Rules<'_>,
    user_id: &str,
    request: v1::SendSignalRequest,
) -> Result<Ask, Fault> {
    let log = at.conversation(&request.conversation_id)?;
    at.bytes("type", request.r#type.len(), 1, NAME_BYTES_MAX)?;
    at.bytes(
        "payload",
        request.payload.len(),
        0,
        rules.limits.signal_bytes_max as usize,
    )?;
    at.users("user_ids", &request.user_ids, SIGNAL_USERS_MAX)?;
    let signal = v1::Signal {
        conversation_id: request.conversation_id,
        sender: user_id.to_owned(),
        r#type: request.r#type,
        payload: request.payload,
    };
    let kind = Some(ephemeral_command::Kind::Signal(signal));
    Ok(Ask {
        log,
        op: Op::Ephemeral(EphemeralCommand {
            user_ids: request.user_ids,
            kind,
        }),
    })
}

/// Says whether a session is in the foreground.
pub fn foreground(mailbox: LogId, session_id: u64, foreground: bool) -> Ask {
    let op = Op::Foreground(ForegroundCommand {
        session_id,
        foreground,
    });
    Ask { log: mailbox, op }
}
