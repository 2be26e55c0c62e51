//! Saved: how lives, settings and hints are written in Redis.
//!
//! Protobuf, so that processes of two versions can share them: an unknown field is skipped. Used
//! by the store and, for hints, by `keeper`. Pure.
//!
//! Invariant: what was never written reads as the default. What cannot be read (another program
//! wrote it) reads so too: the next report of a life replaces it. A setting that cannot be read
//! counts as hiding, since showing who hides is the worse mistake.

use prost::Message;

use crate::rules::{Facts, Life, SessionKey, UserId};
use crate::store::{Hint, Setting};

#[derive(Clone, PartialEq, Message)]
struct SavedLife {
    #[prost(message, repeated, tag = "1")]
    sessions: Vec<SavedSession>,
    #[prost(uint64, tag = "2")]
    ended_ms: u64,
    #[prost(uint64, tag = "3")]
    last_seen_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SavedSession {
    #[prost(string, tag = "1")]
    gateway: String,
    #[prost(uint64, tag = "2")]
    session: u64,
    #[prost(uint64, tag = "3")]
    end_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SavedSetting {
    #[prost(string, tag = "1")]
    status: String,
    #[prost(bool, tag = "2")]
    hidden: bool,
}

#[derive(Clone, PartialEq, Message)]
struct SavedHint {
    #[prost(string, repeated, tag = "1")]
    user_ids: Vec<String>,
}

/// The life that was written.
pub fn life(text: &[u8]) -> Life {
    let saved = SavedLife::decode(text).unwrap_or_default();
    let sessions = saved.sessions.into_iter().map(|saved| {
        let key = SessionKey {
            gateway: saved.gateway.into(),
            session: saved.session,
        };
        (key, saved.end_ms)
    });
    Life::restored(sessions.collect(), saved.ended_ms, saved.last_seen_ms)
}

/// How to write this life.
pub fn of_life(life: &Life) -> Vec<u8> {
    let sessions = life.sessions().iter().map(|(key, end_ms)| SavedSession {
        gateway: key.gateway.to_string(),
        session: key.session,
        end_ms: *end_ms,
    });
    let saved = SavedLife {
        sessions: sessions.collect(),
        ended_ms: life.ended_ms(),
        last_seen_ms: life.last_seen_ms(),
    };
    saved.encode_to_vec()
}

/// How to write this setting; `None`: it is the default, which is not written.
pub fn of_setting(setting: &Setting) -> Option<Vec<u8>> {
    let saved = SavedSetting {
        status: setting.status.to_string(),
        hidden: setting.hidden,
    };
    (saved != SavedSetting::default()).then(|| saved.encode_to_vec())
}

/// What is known of a user by both texts.
pub fn facts(life: &[u8], setting: &[u8]) -> Facts {
    let life = self::life(life);
    let setting = SavedSetting::decode(setting).unwrap_or_else(|_unreadable| SavedSetting {
        status: String::new(),
        hidden: true,
    });
    Facts {
        online_until_ms: life.online_until_ms(),
        last_seen_ms: life.last_seen_ms(),
        status: setting.status.into(),
        hidden: setting.hidden,
    }
}

/// How to write that these users may have changed.
pub fn of_hint(users: &[UserId]) -> Vec<u8> {
    let user_ids = users.iter().map(ToString::to_string).collect();
    SavedHint { user_ids }.encode_to_vec()
}

/// Who may have changed; nobody, if that cannot be read.
pub fn hint(text: &[u8]) -> Hint {
    let hint = SavedHint::decode(text).unwrap_or_default();
    hint.user_ids.into_iter().map(UserId::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut written = Life::default();
        for session in 0..3 {
            let gateway = "edge\n1 {}".into();
            written.refresh(&SessionKey { gateway, session }, 1_000 + session, 45_000);
        }
        assert_eq!(life(&of_life(&written)), written);
        let users: Vec<UserId> = vec!["ann".into(), "böb\n".into()];
        assert_eq!(*hint(&of_hint(&users)), *users);
    }

    #[test]
    fn what_was_never_written_is_the_default_and_what_is_unreadable_is_hidden() {
        assert_eq!(life(b""), Life::default());
        assert_eq!(life(b"\xff"), Life::default());
        assert_eq!(facts(b"", b""), Facts::default());
        assert!(facts(b"", b"\xff").hidden);
        assert!(hint(b"\xff").is_empty());
    }
}
