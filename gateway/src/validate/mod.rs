//! Validate: the bounds of what clients send, each fault with the path of its field.
//!
//! Pure. Called once, at the edge, by `commands`, for frames of sessions (paths begin with the
//! frame's name) and for their unary twins (paths are the request's own). `message` judges content.
//!
//! Invariant: whatever passes fits every later hop, so no later hop has to look at it again.

pub mod message;
pub mod push_settings;
pub mod registration;

use crate::config::LimitOptions;
use heddle_proto::{
    errors::Fault,
    ids::{self, LogId, MessageId, NAME_BYTES_MAX},
    time::DAY_MS,
    v1::ErrorReason,
};

/// Seqs and positions stay below this, so that JavaScript can count them.
pub const SEQ_MAX: u64 = (1 << 53) - 1;
/// How far ahead of the server an id's time may be, in milliseconds.
const AHEAD_MAX_MS: u64 = 60_000;

/// The frame whose fields are looked at: the first part of their paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(pub &'static str);

/// The bounds of a deployment at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The bounds.
    pub limits: &'a LimitOptions,
    /// The server's time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl At {
    /// A request of its own: its fields have no prefix.
    pub const CALL: Self = Self("");

    /// The path of a field.
    pub fn path(self, field: &str) -> String {
        if self.0.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.0)
        }
    }

    /// The fault of a field.
    pub fn fault(self, field: &str, text: impl Into<String>) -> Fault {
        Fault::field(self.path(field), text)
    }

    /// A conversation's id.
    pub fn conversation(self, bytes: &[u8]) -> Result<LogId, Fault> {
        LogId::from_wire(bytes).ok_or_else(|| self.fault("conversation_id", "must have 16 bytes"))
    }

    /// The name of a user or a device.
    pub fn name(self, field: &str, name: &str) -> Result<(), Fault> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let text = format!("must have 1 to {NAME_BYTES_MAX} bytes, has {}", name.len());
            return Err(self.fault(field, text));
        }
        Ok(())
    }

    /// The name of a user of the product's.
    pub fn user(self, field: &str, user_id: &str) -> Result<(), Fault> {
        if ids::is_reserved(user_id) {
            return Err(self.fault(field, ids::RESERVED_TEXT));
        }
        self.name(field, user_id)
    }

    /// Users, at most so many.
    pub fn users(self, field: &str, user_ids: &[String], max: usize) -> Result<(), Fault> {
        self.count(field, user_ids.len(), 0, max)?;
        for (index, user_id) in user_ids.iter().enumerate() {
            // The path is put together only for the one that is wrong.
            if self.user("", user_id).is_err() {
                return self.user(&format!("{field}[{index}]"), user_id);
            }
        }
        Ok(())
    }

    /// A number of entries.
    pub fn count(self, field: &str, count: usize, min: usize, max: usize) -> Result<(), Fault> {
        if count < min || count > max {
            let text = format!("must have {min} to {max} entries, has {count}");
            return Err(self.fault(field, text));
        }
        Ok(())
    }

    /// A text in Unicode scalar values.
    pub fn chars(self, field: &str, text: &str, max: usize) -> Result<(), Fault> {
        let fits = text.len() <= max || text.chars().count() <= max;
        if !fits {
            return Err(self.fault(field, format!("must have at most {max} characters")));
        }
        Ok(())
    }

    /// A length in bytes.
    pub fn bytes(self, field: &str, length: usize, min: usize, max: usize) -> Result<(), Fault> {
        if length < min || length > max {
            let text = format!("must have {min} to {max} bytes, has {length}");
            return Err(self.fault(field, text));
        }
        Ok(())
    }

    /// A seq or a position that must be there.
    pub fn seq(self, field: &str, seq: u64) -> Result<(), Fault> {
        if seq == 0 || seq > SEQ_MAX {
            return Err(self.fault(field, "must be between 1 and 2^53 - 1"));
        }
        Ok(())
    }

    /// A seq or a position; 0 means none.
    pub fn seq_or_none(self, field: &str, seq: u64) -> Result<(), Fault> {
        if seq == 0 {
            Ok(())
        } else {
            self.seq(field, seq)
        }
    }

    /// A page size; 0 means the default.
    pub fn page_size(self, size: i32, default: u32, max: u32) -> Result<u32, Fault> {
        match u32::try_from(size) {
            Ok(0) => Ok(default),
            Ok(size) => Ok(size.min(max)),
            Err(_) => Err(self.fault("page_size", "must not be negative")),
        }
    }

    /// The id of a send before; empty means none.
    pub fn predecessor(self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.is_empty() || MessageId::from_wire(bytes).is_some() {
            return Ok(());
        }
        Err(self.fault("predecessor_id", "must be a UUIDv7 of 16 bytes, or empty"))
    }
}

impl Rules<'_> {
    /// The id of a call that makes something: a UUIDv7 minted on the server's time, within the
    /// window.
    pub fn message_id(&self, at: At, bytes: &[u8]) -> Result<(), Fault> {
        let Some(id) = MessageId::from_wire(bytes) else {
            return Err(at.fault("client_message_id", "must be a UUIDv7 of 16 bytes"));
        };
        let path = at.path("client_message_id");
        if id.time_ms() > self.now_ms + AHEAD_MAX_MS {
            let text = "the id is ahead of the server; mint one on the server's time";
            let fault = Fault {
                field: path,
                ..Fault::new(ErrorReason::IdAhead, text)
            };
            return Err(fault.with("server_time_ms", self.now_ms));
        }
        let window_ms = u64::from(self.limits.retry_window_days) * DAY_MS;
        if id.time_ms() + window_ms < self.now_ms {
            let text = "the id is older than retries are told apart; ask the user whether to \
                        send again, under a new id";
            return Err(Fault {
                field: path,
                ..Fault::new(ErrorReason::OutboxExpired, text)
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn judge(id: &[u8]) -> Option<ErrorReason> {
        let limits = LimitOptions::default();
        let rules = Rules {
            limits: &limits,
            now_ms: NOW_MS,
        };
        rules.message_id(At("send"), id).err().map(|fault| {
            assert_eq!(fault.field, "send.client_message_id");
            fault.reason
        })
    }

    fn minted(time_ms: u64) -> [u8; 16] {
        *MessageId::mint(time_ms, &[7; 10]).as_bytes()
    }

    #[test]
    fn an_id_is_taken_within_its_window() {
        let week_ms = 7 * DAY_MS;
        let cases = [
            (NOW_MS, None),
            (NOW_MS + 60_000, None),
            (NOW_MS + 60_001, Some(ErrorReason::IdAhead)),
            (NOW_MS - week_ms, None),
            (NOW_MS - week_ms - 1, Some(ErrorReason::OutboxExpired)),
        ];
        for (time_ms, expected) in cases {
            assert_eq!(judge(&minted(time_ms)), expected, "{time_ms}");
        }
        assert_eq!(judge(&[0; 16]), Some(ErrorReason::InvalidField));
        assert_eq!(judge(b""), Some(ErrorReason::InvalidField));
    }

    #[test]
    fn an_id_ahead_is_told_the_servers_time() {
        let limits = LimitOptions::default();
        let rules = Rules {
            limits: &limits,
            now_ms: NOW_MS,
        };
        let fault = rules
            .message_id(At::CALL, &minted(NOW_MS + 100_000))
            .unwrap_err();
        assert_eq!(
            fault.metadata,
            [("server_time_ms".to_owned(), NOW_MS.to_string())]
        );
        assert_eq!(fault.field, "client_message_id");
    }

    #[test]
    fn each_bound_holds_on_both_sides() {
        let at = At("frame");
        let long = |n: usize| "x".repeat(n);
        assert!(at.name("user_id", &long(128)).is_ok());
        assert_eq!(
            at.name("user_id", &long(129)).unwrap_err().field,
            "frame.user_id"
        );
        assert!(at.name("user_id", "").is_err());
        assert!(at.seq("seq", SEQ_MAX).is_ok() && at.seq("seq", 1).is_ok());
        assert!(at.seq("seq", SEQ_MAX + 1).is_err() && at.seq("seq", 0).is_err());
        assert!(at.seq_or_none("seq", 0).is_ok());
        assert!(at.conversation(&[0; 16]).is_ok() && at.conversation(&[0; 15]).is_err());
        assert!(at.predecessor(b"").is_ok() && at.predecessor(&[0; 16]).is_err());
        assert!(at.chars("title", &"\u{1f9f5}".repeat(200), 200).is_ok());
        assert!(at.chars("title", &"\u{1f9f5}".repeat(201), 200).is_err());
        assert!(at.bytes("payload", 4096, 0, 4096).is_ok());
        assert!(at.bytes("payload", 4097, 0, 4096).is_err());
        assert_eq!(at.page_size(0, 50, 200), Ok(50));
        assert_eq!(at.page_size(1_000, 50, 200), Ok(200));
        assert!(at.page_size(-1, 50, 200).is_err());
    }

    #[test]
    fn users_of_heddles_own_cannot_be_named() {
        let fault = At::CALL.user("user_id", "heddle:canary:1:to").unwrap_err();
        assert_eq!(fault.field, "user_id");
        assert!(fault.message.contains("heddle:"), "{fault}");
        let users = ["ann".to_owned(), "heddle:x".to_owned()];
        let fault = At::CALL.users("user_ids", &users, 2).unwrap_err();
        assert_eq!(fault.field, "user_ids[1]");
        assert!(At::CALL.name("device_id", "heddle:x").is_ok());
    }

    #[test]
    fn a_bad_name_in_a_list_is_pointed_at() {
        let names = ["ann".to_owned(), String::new()];
        let fault = At("watch").users("user_ids", &names, 500).unwrap_err();
        assert_eq!(fault.field, "watch.user_ids[1]");
        let many = vec!["x".to_owned(); 501];
        assert_eq!(
            At("watch").users("user_ids", &many, 500).unwrap_err().field,
            "watch.user_ids"
        );
    }
}
