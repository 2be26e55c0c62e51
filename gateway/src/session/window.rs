//! Window: what a session has been given, what it has acknowledged, and what it must fetch.
//!
//! Pure. `state` asks here about each delivery, acknowledgement and head; `catch_up` does the
//! reading that this module plans.
//!
//! Invariant: positions leave in order without a hole, each once; what was given and not
//! acknowledged has at most `bytes_max` bytes, one event more at most. Whatever the shard says that
//! does not fit is dropped, and read again from the store, since `head` remembers that it exists.

use heddle_proto::{ids::LogId, v1::Cursor};
use std::collections::VecDeque;

/// What a delivery costs besides its body: its cursor and the framing.
pub const DELIVERY_OVERHEAD_BYTES: usize = 32;
/// Entries of one read, so that tiny ones stay within the window too.
const READ_ENTRIES_MAX: usize = 512;
/// What an entry has at least on the average: says how many a read may bring.
const ENTRY_BYTES_TYPICAL: usize = 128;
/// A session has so much room, as a part of its window, before it reads on.
const READ_ROOM_PART: usize = 2;

/// An event that its recipient's acknowledgement marks as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Markable {
    /// The conversation.
    pub conversation: LogId,
    /// The event.
    pub seq: u64,
}

/// Something at one position of the mailbox, on its way to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its position and the nonce under which that was committed.
    pub cursor: Cursor,
    /// Bytes of its body.
    pub body_bytes: usize,
    /// What an acknowledgement marks.
    pub markable: Option<Markable>,
}

/// What becomes of a live delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Give it to the device; the position before it is told.
    Take {
        /// The position before.
        previous_position: u64,
    },
    /// What is before it is being read: it waits for that.
    Keep,
    /// The device has it.
    Known,
    /// It does not fit or something before it is missing: it is read from the store later.
    Behind,
}

/// A read that brings the session on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPlan {
    /// Positions above this one.
    pub after_position: u64,
    /// Up to this one, which was committed when the owner named it.
    pub head: u64,
    /// Bytes of bodies.
    pub bytes_max: usize,
    /// Entries.
    pub entries_max: usize,
}

/// A device acknowledges what it was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position {position} was not sent on this session yet; the last one is {last}")]
pub struct BeyondSent {
    /// What the device named.
    pub position: u64,
    /// The last position given.
    pub last: u64,
}

/// How far a device is behind its mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Positions given and not acknowledged.
    pub unacknowledged: u64,
    /// Positions committed and not acknowledged, given or not.
    pub positions: u64,
}

/// A read that is under way.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The position that comes after what is read and kept.
    next_position: u64,
    kept_bytes: usize,
}

impl Reading {
    /// Whether a live delivery is right behind, and there is room.
    fn keeps(&mut self, offer: &Offer, bytes_max: usize) -> bool {
        let bytes = self.kept_bytes + offer.body_bytes + DELIVERY_OVERHEAD_BYTES;
        let keeps = offer.cursor.position == self.next_position && bytes <= bytes_max;
        if keeps {
            self.next_position += 1;
            self.kept_bytes = bytes;
        }
        keeps
    }
}

#[derive(Clone, Copy, Debug)]
struct Given {
    position: u64,
    bytes: u32,
    markable: Option<Markable>,
}

/// A session's place in its mailbox.
#[derive(Debug)]
pub struct Window {
    /// The last position given to the device.
    cursor: Cursor,
    /// The greatest position known to be committed, and the nonce under which it was.
    head: Cursor,
    /// Given and not acknowledged, by position.
    given: VecDeque<Given>,
    given_bytes: usize,
    bytes_max: usize,
    reading: Option<Reading>,
}

impl Window {
    /// A session that has everything up to `cursor`, of a mailbox whose head is at least that.
    pub fn new(cursor: Cursor, head: Cursor, bytes_max: usize) -> Self {
        let given = VecDeque::new();
        Self {
            cursor,
            head,
            given,
            given_bytes: 0,
            bytes_max,
            reading: None,
        }
    }

    /// The last position given to the device.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The greatest position known to be committed.
    pub fn head(&self) -> Cursor {
        if self.is_behind() {
            self.head
        } else {
            self.cursor
        }
    }

    /// Whether the device has not been given all that is known to be committed.
    pub fn is_behind(&self) -> bool {
        self.head.position > self.cursor.position
    }

    /// Whether a read is planned or under way.
    pub fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// How far the device is behind.
    pub fn lag(&self) -> Lag {
        let unacknowledged = self.given.len() as u64;
        let missing = self.head.position.saturating_sub(self.cursor.position);
        Lag {
            unacknowledged,
            positions: unacknowledged + missing,
        }
    }

    /// Bytes given and not acknowledged.
    #[cfg(test)]
    pub fn given_bytes(&self) -> usize {
        self.given_bytes
    }

    /// A live delivery arrives.
    pub fn offer(&mut self, offer: &Offer) -> Verdict {
        let previous_position = self.cursor.position;
        if offer.cursor.position <= previous_position {
            return Verdict::Known;
        }
        self.see_head(offer.cursor);
        if let Some(reading) = &mut self.reading {
            return match reading.keeps(offer, self.bytes_max) {
                true => Verdict::Keep,
                false => Verdict::Behind,
            };
        }
        let next = offer.cursor.position == previous_position + 1;
        if !next || !self.fits(offer.body_bytes) {
            return Verdict::Behind;
        }
        self.give(offer);
        Verdict::Take { previous_position }
    }

    /// The owner's heartbeat tells the head.
    pub fn see_head(&mut self, head: Cursor) {
        if head.position > self.head.position {
            self.head = head;
        }
    }

    /// The device acknowledges everything up to a position; what that marks as delivered is passed
    /// on.
    pub fn acknowledge(
        &mut self,
        position: u64,
        mut delivered: impl FnMut(Markable),
    ) -> Result<u32, BeyondSent> {
        if position > self.cursor.position {
            return Err(BeyondSent {
                position,
                last: self.cursor.position,
            });
        }
        let mut count = 0;
        while let Some(given) = self
            .given
            .front()
            .filter(|given| given.position <= position)
        {
            self.given_bytes -= given.bytes as usize;
            count += 1;
            if let Some(markable) = given.markable {
                delivered(markable);
            }
            self.given.pop_front();
        }
        if self.given.is_empty() {
            // An idle session holds no buffer.
            self.given = VecDeque::new();
        }
        Ok(count)
    }

    /// Whether something is missing, room is there and nobody reads: if so, somebody must now.
    pub fn plan_read(&mut self) -> Option<ReadPlan> {
        let room = self.bytes_max.saturating_sub(self.given_bytes);
        let enough = self.given.is_empty() || room >= self.bytes_max / READ_ROOM_PART;
        if self.reading.is_some() || !enough || !self.is_behind() {
            return None;
        }
        self.reading = Some(Reading {
            next_position: self.head.position + 1,
            kept_bytes: 0,
        });
        let entries_max = (room / ENTRY_BYTES_TYPICAL).clamp(1, READ_ENTRIES_MAX);
        Some(ReadPlan {
            after_position: self.cursor.position,
            head: self.head.position,
            bytes_max: room
                .saturating_sub(entries_max * DELIVERY_OVERHEAD_BYTES)
                .max(1),
            entries_max,
        })
    }

    /// Takes one entry of a read: the position before it, or nothing if the device has it already.
    pub fn take_read(&mut self, offer: &Offer) -> Option<u64> {
        let previous_position = self.cursor.position;
        if offer.cursor.position <= previous_position {
            return None;
        }
        self.give(offer);
        Some(previous_position)
    }

    /// The read has ended, well or not; what was kept is to be offered again.
    pub fn end_read(&mut self) {
        self.reading = None;
    }

    fn fits(&self, body_bytes: usize) -> bool {
        let bytes = body_bytes + DELIVERY_OVERHEAD_BYTES;
        self.given.is_empty() || self.given_bytes + bytes <= self.bytes_max
    }

    fn give(&mut self, offer: &Offer) {
        let bytes = offer.body_bytes + DELIVERY_OVERHEAD_BYTES;
        self.cursor = offer.cursor;
        self.given_bytes += bytes;
        self.given.push_back(Given {
            position: offer.cursor.position,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            markable: offer.markable,
        });
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
