//! Marks and unread counts, as the judge wants them.
//!
//! Invariant: exact to the message; a list that says one more or less is wrong.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::ReplayError;
use super::device::notes;
use super::judge::Judge;
use super::ledger::ROOMS;
use crate::target::TargetError;

/// Lists that are asked for at once.
const LISTS_MAX: usize = 16;

impl Judge<'_> {
    /// The marks of a room's members as one user's device must know them, by user index.
    fn mark_is_right(&self, room: usize, user: usize, known: (u64, u64)) -> bool {
        let read = self.read[room].get(&user).copied().unwrap_or(0);
        let received = self.logs[room].last_message_not_of(&self.cast.ids[user]);
        known.1 == read && known.0 >= received && known.0 <= self.logs[room].head()
    }

    /// Each device in the room with each member whose marks it knows wrongly.
    fn wrong_marks(&self, room: usize) -> impl Iterator<Item = (&str, &str, (u64, u64))> {
        let members = &self.cast.beside[room];
        let seats = self
            .cast
            .seats
            .iter()
            .filter(move |seat| members.contains(&seat.user));
        seats.flat_map(move |seat| {
            let wrong = members.iter().filter_map(move |&user| {
                let id = self.cast.ids[user].as_str();
                let told = notes(&seat.notes)
                    .marks
                    .get(&(room, id.to_owned()))
                    .copied();
                // One's own message moves one's own mark, and the others see that from the event.
                let own = self.logs[room].last_message_of(id);
                let (delivered, read) = told.unwrap_or_default();
                let known = (delivered.max(own), read.max(own));
                // One's own delivered mark is nobody's news to oneself.
                let is_right = match user == seat.user {
                    true => known.1 == self.read[room].get(&user).copied().unwrap_or(0),
                    false => self.mark_is_right(room, user, known),
                };
                (!is_right).then_some((seat.name.as_str(), id, known))
            });
            wrong.collect::<Vec<_>>()
        })
    }

    pub(super) fn marks_settled(&self, room: usize) -> bool {
        self.wrong_marks(room).next().is_none()
    }

    pub(super) fn compare_marks(&self, room: usize) {
        for (device, user, known) in self.wrong_marks(room) {
            let index = self.cast.ids.iter().position(|id| id == user);
            let read = index.and_then(|index| self.read[room].get(&index));
            self.ledger.problem("marks", || {
                let head = self.logs[room].head();
                format!("room {room} of {head}: {device} knows {user} at {known:?}, read {read:?}")
            });
        }
    }

    /// Everyone's list of conversations: unread and the read mark.
    pub(super) async fn compare_lists(&self) -> Result<(), ReplayError> {
        let asking = stream::iter(0..self.cast.ids.len()).map(|user| async move {
            let list = self.cast.clients[user].snapshot().await;
            let list = list.map_err(TargetError::refused("a list can't be read"))?;
            Ok::<_, ReplayError>((user, list.conversations))
        });
        let lists: Vec<_> = asking.buffer_unordered(LISTS_MAX).try_collect().await?;
        for (user, list) in lists {
            for room in 0..ROOMS {
                let is_member = room == 0 || self.cast.beside[room].contains(&user);
                let Some(since) = self.logs[room].member_since(user).filter(|_| is_member) else {
                    continue;
                };
                let id = &self.cast.ids[user];
                let summary = list.iter().find(|summary| {
                    let conversation = summary.conversation.as_ref();
                    conversation.is_some_and(|conversation| {
                        conversation.conversation_id == self.cast.rooms[room].as_bytes()[..]
                    })
                });
                let own = self.logs[room].last_message_of(id);
                let read = self.read[room].get(&user).copied().unwrap_or(0).max(own);
                let unread = self.logs[room].unread(id, read.max(since.saturating_sub(1)));
                let found = summary.map(|summary| (summary.unread_count, summary.read_seq));
                let is_right = found.is_some_and(|(count, mark)| {
                    // Who joined anew has nothing unread from before, wherever the mark stands.
                    count == unread && (mark == read || read < since)
                });
                if !is_right {
                    self.ledger.problem("unread", || {
                        format!(
                            "room {room}, {id} (since {since}): the list says {found:?} (unread, \
                             read), should be ({unread}, {read})"
                        )
                    });
                }
            }
        }
        Ok(())
    }
}
