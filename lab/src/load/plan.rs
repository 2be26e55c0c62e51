//! Plans: who is there, who sends to whom, how fast and for how long.

use std::time::Duration;

/// One user's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The user's name.
    pub name: String,
    /// The conversation's name; those with the same one hear each other.
    pub room: String,
    /// How many are in the room besides this one: what each send must be delivered to.
    pub peers: u32,
}

/// How a seat sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Keeps so many sends unanswered at all times (closed loop).
    InFlight(u32),
    /// One send each interval, come what may (open loop), the first one after the offset.
    Every {
        /// From one to the next.
        interval: Duration,
        /// From the start to the first.
        offset: Duration,
    },
    /// Only listens.
    Silent,
}

/// A seat and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatPlan {
    /// Whose it is.
    pub seat: Seat,
    /// What it does.
    pub pace: Pace,
}

/// What to do, with everyone connected first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Everyone.
    pub seats: Vec<SeatPlan>,
    /// Load that is not counted, at first.
    pub warmup: Duration,
    /// Load that is counted.
    pub duration: Duration,
    /// How long to wait afterwards for what is under way; what is missing then is reported.
    pub drain_max: Duration,
    /// Length of each message.
    pub payload_bytes: usize,
    /// The server's process, to be charged for its CPU.
    pub server_pid: Option<u32>,
}

impl Plan {
    /// `users` (rounded up to even) in pairs, each keeping `in_flight` sends unanswered.
    pub fn pairs(users: u32, in_flight: u32) -> Plan {
        Plan::with(pair_seats(users).map(|(_, seat)| {
            let pace = Pace::InFlight(in_flight);
            SeatPlan { seat, pace }
        }))
    }

    /// `users` (rounded up to even) in pairs, who send `per_second` messages in all, evenly.
    pub fn paced_pairs(users: u32, per_second: u32) -> Plan {
        let step = Duration::from_secs(1) / per_second.max(1);
        let interval = step * users.next_multiple_of(2).max(2);
        Plan::with(pair_seats(users).map(|(index, seat)| {
            let pace = Pace::Every {
                interval,
                offset: step * index,
            };
            SeatPlan { seat, pace }
        }))
    }

    /// One sender with `per_second` messages to a group of that many receivers.
    pub fn group(receivers: u32, per_second: u32) -> Plan {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Plan::with((0..=receivers).map(|index| {
            let (name, room) = (format!("group-{index}"), "group".to_owned());
            let pace = match index {
                0 => Pace::Every {
                    interval,
                    offset: Duration::ZERO,
                },
                _ => Pace::Silent,
            };
            SeatPlan {
                seat: Seat {
                    name,
                    room,
                    peers: receivers,
                },
                pace,
            }
        }))
    }

    fn with(seats: impl Iterator<Item = SeatPlan>) -> Plan {
        Plan {
            seats: seats.collect(),
            warmup: Duration::from_secs(2),
            duration: Duration::from_secs(10),
            drain_max: Duration::from_secs(10),
            payload_bytes: 100,
            server_pid: None,
        }
    }
}

fn pair_seats(users: u32) -> impl Iterator<Item = (u32, Seat)> {
    (0..users.next_multiple_of(2).max(2)).map(|index| {
        let (name, room) = (format!("user-{index}"), format!("pair-{}", index / 2));
        (
            index,
            Seat {
                name,
                room,
                peers: 1,
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paced_pairs_send_evenly() {
        let plan = Plan::paced_pairs(200, 2000);
        assert_eq!(plan.seats.len(), 200);
        let last = plan.seats.last().unwrap();
        let interval = Duration::from_millis(100);
        let offset = Duration::from_micros(500) * 199;
        assert_eq!(last.pace, Pace::Every { interval, offset });
        assert_eq!(last.seat.room, "pair-99");
    }

    #[test]
    fn a_group_has_one_sender_and_pairs_are_even() {
        let plan = Plan::group(100, 100);
        let silent = plan
            .seats
            .iter()
            .filter(|seat| seat.pace == Pace::Silent)
            .count();
        assert_eq!(
            (plan.seats.len(), silent, plan.seats[0].seat.peers),
            (101, 100, 100)
        );
        assert_eq!(Plan::pairs(3, 16).seats.len(), 4);
    }
}
