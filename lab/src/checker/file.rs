//! Histories as files: one JSON record per line, for `heddle check FILE`.
//!
//! The first line names the format. Users, devices and conversations get their indices by their
//! order in the file, as do events and message states; a record names only what stands above it.
//!
//! Invariant: loading what was saved gives the same verdicts, and a file that can't be understood
//! is refused with its line, never judged in part.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::history::{History, Seen};
use super::record::{Event, Final, Mark, MessageState, Send};

/// The version of the format that is written, and the only one that is read.
const FORMAT: u32 = 1;

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading or writing failed.
    #[error("the history can't be read or written: {0}")]
    Io(#[from] io::Error),
    /// A line that is no record.
    #[error("line {line} is no record of a history: {cause}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What the JSON parser says.
        cause: serde_json::Error,
    },
    /// A record that names something which was not there before.
    #[error("line {line} names a {what} that no line before it has introduced")]
    Dangling {
        /// The line, from 1.
        line: usize,
        /// What is missing.
        what: &'static str,
    },
    /// Not a history, or of another version.
    #[error("line 1 must be {{\"format\":{FORMAT}}}: not a history, or one of another version")]
    Format,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Format(u32),
    User(String),
    Device {
        user: u32,
        name: String,
    },
    Conversation(String),
    Member {
        user: u32,
        conversation: u32,
        since: u64,
        until: Option<u64>,
    },
    Send(Send),
    Event(Event),
    Seen {
        device: u32,
        event: u32,
        position: u64,
        at_us: u64,
    },
    Resumed {
        device: u32,
        position: u64,
        at_us: u64,
    },
    Hid {
        user: u32,
        conversation: u32,
        seq: u64,
        sure: bool,
    },
    Left {
        user: u32,
        conversation: u32,
        seq: u64,
    },
    Mark(Mark),
    State(MessageState),
    Final(Final),
}

/// Writes a history; wrap a file into a `BufWriter`.
pub fn save(history: &History, out: &mut impl Write) -> Result<(), FileError> {
    let mut writer = Writer { out };
    writer.put(Record::Format(FORMAT))?;
    writer.people(history)?;
    let sends = history.sends.iter().copied().map(Record::Send);
    writer.all(sends)?;
    let events = history.events.items().iter().copied().map(Record::Event);
    writer.all(events)?;
    writer.streams(history)?;
    writer.hidden(history)?;
    writer.leaves(history)?;
    writer.all(history.marks.iter().copied().map(Record::Mark))?;
    let states = history.states.items().iter().copied().map(Record::State);
    writer.all(states)?;
    writer.all(history.finals.iter().cloned().map(Record::Final))?;
    Ok(out.flush()?)
}

/// Writes records, one a line.
struct Writer<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Writer<'_, W> {
    fn put(&mut self, record: Record) -> Result<(), FileError> {
        serde_json::to_writer(&mut *self.out, &record).map_err(io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }

    fn all(&mut self, mut records: impl Iterator<Item = Record>) -> Result<(), FileError> {
        records.try_for_each(|record| self.put(record))
    }

    /// Who there is, and where they are members.
    fn people(&mut self, history: &History) -> Result<(), FileError> {
        self.all(history.users.iter().cloned().map(Record::User))?;
        let conversations = history.conversations.iter().cloned();
        self.all(conversations.map(Record::Conversation))?;
        self.all(history.devices.iter().map(|device| Record::Device {
            user: device.user,
            name: device.name.clone(),
        }))?;
        let windows = history.windows.iter();
        self.all(windows.map(|window| Record::Member {
            user: window.user,
            conversation: window.conversation,
            since: window.since,
            until: window.until,
        }))
    }

    /// What each device saw.
    fn streams(&mut self, history: &History) -> Result<(), FileError> {
        for (device, of) in (0..).zip(&history.devices) {
            for &Seen {
                event,
                position,
                at_us,
            } in &of.stream
            {
                self.put(match event {
                    Seen::RESUMED => Record::Resumed {
                        device,
                        position,
                        at_us,
                    },
                    event => Record::Seen {
                        device,
                        event,
                        position,
                        at_us,
                    },
                })?;
            }
        }
        Ok(())
    }

    /// What users deleted for themselves.
    fn hidden(&mut self, history: &History) -> Result<(), FileError> {
        let hidden = history.hidden.iter();
        self.all(hidden.map(|hidden| Record::Hid {
            user: hidden.user,
            conversation: hidden.conversation,
            seq: hidden.seq,
            sure: hidden.sure,
        }))
    }

    /// Who was told to have left, and from which seq on.
    fn leaves(&mut self, history: &History) -> Result<(), FileError> {
        let leaves = history.leaves.iter();
        self.all(leaves.map(|left| Record::Left {
            user: left.user,
            conversation: left.conversation,
            seq: left.seq,
        }))
    }
}

/// Reads a history.
pub fn load(input: impl BufRead) -> Result<History, FileError> {
    let mut history = History::default();
    let mut lines = (1..).zip(input.lines());
    let first = lines
        .next()
        .map(|(_, line)| line)
        .transpose()?
        .unwrap_or_default();
    match serde_json::from_str(&first) {
        Ok(Record::Format(FORMAT)) => {}
        _ => return Err(FileError::Format),
    }
    for (line, text) in lines {
        let record =
            serde_json::from_str(&text?).map_err(|cause| FileError::Malformed { line, cause })?;
        check_names(&history, &record).map_err(|what| FileError::Dangling { line, what })?;
        take(&mut history, record);
    }
    Ok(history)
}

fn take(history: &mut History, record: Record) {
    match record {
        Record::Format(_) => {}
        Record::User(name) => drop(history.user(name)),
        Record::Conversation(name) => drop(history.conversation(name)),
        Record::Device { user, name } => drop(history.device(user, name)),
        Record::Member {
            user,
            conversation,
            since,
            until,
        } => {
            history.member(user, conversation, since, until);
        }
        Record::Send(send) => drop(history.send(send)),
        Record::Event(event) => drop(history.events.intern(event)),
        Record::Seen {
            device,
            event,
            position,
            at_us,
        } => {
            history.devices[device as usize].stream.push(Seen {
                event,
                position,
                at_us,
            });
        }
        Record::Resumed {
            device,
            position,
            at_us,
        } => history.resumed(device, position, at_us),
        Record::Hid {
            user,
            conversation,
            seq,
            sure,
        } => history.hid(user, conversation, seq, sure),
        Record::Left {
            user,
            conversation,
            seq,
        } => history.left(user, conversation, seq),
        Record::Mark(mark) => history.mark(mark),
        Record::State(state) => drop(history.message_state(state)),
        Record::Final(last) => history.finished(last),
    }
}

/// Every index of a record is of something that exists; otherwise says what is missing.
fn check_names(history: &History, record: &Record) -> Result<(), &'static str> {
    let check = |index: u32, count: usize, what| {
        if (index as usize) < count {
            Ok(())
        } else {
            Err(what)
        }
    };
    let user = |index| check(index, history.users.len(), "user");
    let device = |index| check(index, history.devices.len(), "device");
    let conversation = |index| check(index, history.conversations.len(), "conversation");
    match record {
        Record::Format(_) | Record::User(_) | Record::Conversation(_) | Record::State(_) => Ok(()),
        Record::Device { user: of, .. } => user(*of),
        Record::Member {
            user: of,
            conversation: here,
            ..
        }
        | Record::Hid {
            user: of,
            conversation: here,
            ..
        }
        | Record::Left {
            user: of,
            conversation: here,
            ..
        } => user(*of).and(conversation(*here)),
        Record::Send(send) => device(send.device).and(conversation(send.conversation)),
        Record::Event(event) => user(event.sender).and(conversation(event.conversation)),
        Record::Resumed { device: of, .. } => device(*of),
        Record::Seen {
            device: of, event, ..
        } => device(*of).and(check(*event, history.events.items().len(), "event")),
        Record::Mark(mark) => device(mark.device)
            .and(conversation(mark.conversation))
            .and(user(mark.user)),
        Record::Final(last) => {
            device(last.device).and(conversation(last.conversation))?;
            last.marks.iter().try_for_each(|&(of, _, _)| user(of))?;
            let states = history.states.items().len();
            last.messages
                .iter()
                .try_for_each(|&state| check(state, states, "state"))
        }
    }
}

/// Hashes as hex: a JSON number of 64 bits is not safe with every reader.
pub(super) mod hex64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u64, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&format!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
        let text = String::deserialize(input)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// Ids as hex, like the ids in logs.
pub(super) mod hex128 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u128, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&format!("{value:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<u128, D::Error> {
        let text = String::deserialize(input)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
