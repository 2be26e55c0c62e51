//! The people of a day: their devices' sessions, the channel, the two rooms beside it.
//!
//! Invariant: every device's session stands before the first event, so that a device is due all
//! that its user is due.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use heddle_proto::v1::{self, ConversationKind};
use heddle_sdk::{Client, ConversationId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::device::{Device, ORDERS_MAX, Order, SharedNotes};
use super::ledger::{Ledger, ROOMS};
use super::{ReplayError, ReplayOptions};
use crate::irc::Script;
use crate::progress::Progress;
use crate::target::{Target, TargetError};

/// Sessions that are opened at once.
const OPENING_MAX: usize = 64;
/// People in the room of the busiest.
const BUSIEST: usize = 20;
/// People added with one call.
const ADD_MAX: usize = 500;

/// The director's side of a device.
pub struct Seat {
    /// In examples.
    pub name: String,
    /// Index of its user.
    pub user: usize,
    /// What it is told.
    pub orders: mpsc::Sender<Order>,
    /// What it has seen.
    pub notes: SharedNotes,
    /// How many of its sends are answered.
    pub settled: watch::Receiver<u64>,
}

/// Everyone.
pub struct Cast {
    /// User ids.
    pub ids: Vec<String>,
    /// A client of each user (its first device's).
    pub clients: Vec<Client>,
    /// Devices, the users' in turn.
    pub seats: Vec<Seat>,
    /// Devices of each user.
    pub devices: usize,
    /// Owns the channel, says nothing.
    pub owner: Client,
    /// That one's id.
    pub owner_id: String,
    /// The channel, the room of the busiest, the two busiest.
    pub rooms: [ConversationId; ROOMS],
    /// Members of the two rooms beside.
    pub beside: [Vec<usize>; ROOMS],
    /// The devices' tasks.
    pub tasks: JoinSet<()>,
}

impl Cast {
    /// Opens all sessions and makes the rooms.
    pub async fn assemble(
        options: &ReplayOptions,
        target: &Target,
        script: &Script,
        ledger: &Arc<Ledger>,
    ) -> Result<Cast, ReplayError> {
        let prefix = match options.target.target {
            // Somebody else's server may have seen this log before.
            Some(_) => format!("{:08x}-", rand::random::<u32>()),
            None => String::new(),
        };
        let ids: Vec<String> = script
            .users
            .iter()
            .map(|user| format!("{prefix}{}", user.name))
            .collect();
        let owner_id = format!("{prefix}irc-owner~");
        let owner = target.client(&owner_id, "owner")?;
        let busiest: Vec<usize> = script
            .busiest(BUSIEST)
            .into_iter()
            .map(|user| user as usize)
            .collect();
        let beside = [Vec::new(), busiest.clone(), busiest[..2].to_vec()];
        let group = owner.mint().to_bytes();
        let room = owner.mint().to_bytes();
        let rooms = [
            ConversationId::group(&owner_id, &group),
            ConversationId::group(&ids[busiest[0]], &room),
            ConversationId::direct(&ids[busiest[0]], &ids[busiest[1]]),
        ];
        let mut cast = Cast {
            devices: options.devices as usize,
            ids,
            clients: Vec::new(),
            seats: Vec::new(),
            owner,
            owner_id,
            rooms,
            beside,
            tasks: JoinSet::new(),
        };
        check_limit(target, &cast, script).await?;
        cast.open(target, ledger, options.json).await?;
        cast.make_channel(script, group, ledger).await?;
        cast.make_rooms(room).await?;
        Ok(cast)
    }

    async fn open(
        &mut self,
        target: &Target,
        ledger: &Arc<Ledger>,
        json: bool,
    ) -> Result<(), ReplayError> {
        let count = self.ids.len() * self.devices;
        let progress = Progress::new("sessions", count as u64, json);
        let (ids, devices, rooms) = (&self.ids, self.devices, self.rooms);
        let opening = stream::iter(0..count).map(|index| {
            let (user, number) = (index / devices, index % devices);
            let progress = progress.clone();
            async move {
                let (id, device) = (&ids[user], format!("device-{number}"));
                let client = target.client(id, &device)?;
                let name = format!("{id}/{number}");
                let device = Device::open(name, user, client, ledger.clone(), rooms).await;
                progress.add(1);
                device.map_err(TargetError::refused("a session could not be opened"))
            }
        });
        let opened: Vec<Device> = opening.buffered(OPENING_MAX).try_collect().await?;
        progress.finish();
        for (index, mut device) in opened.into_iter().enumerate() {
            if index % devices == 0 {
                self.clients.push(device.client.clone());
            }
            for room in 1..ROOMS {
                device.reads[room] = self.beside[room].contains(&device.user);
            }
            let (orders, told) = mpsc::channel(ORDERS_MAX);
            self.seats.push(Seat {
                name: device.name.clone(),
                user: device.user,
                orders,
                notes: device.notes.clone(),
                settled: device.settled.subscribe(),
            });
            self.tasks.spawn(device.run(told));
        }
        Ok(())
    }

    async fn make_channel(
        &self,
        script: &Script,
        id: bytes::Bytes,
        ledger: &Ledger,
    ) -> Result<(), ReplayError> {
        let refused = || TargetError::refused("the channel could not be made");
        let founders: Vec<usize> = script.founders().map(|user| user as usize).collect();
        let names: Vec<String> = founders
            .iter()
            .map(|&user| self.ids[user].clone())
            .collect();
        let (first, others) = names.split_at(names.len().min(ADD_MAX));
        let request = group(id, "replay", first.to_vec());
        self.owner
            .create_conversation(request)
            .await
            .map_err(refused())?;
        for more in others.chunks(ADD_MAX) {
            self.owner
                .add_members(self.rooms[0], more.to_vec())
                .await
                .map_err(refused())?;
        }
        founders
            .into_iter()
            .for_each(|user| ledger.set_member(user, true));
        Ok(())
    }

    async fn make_rooms(&self, id: bytes::Bytes) -> Result<(), ReplayError> {
        let refused = || TargetError::refused("a room could not be made");
        let members = &self.beside[1];
        let creator = &self.clients[members[0]];
        let others = members[1..]
            .iter()
            .map(|&user| self.ids[user].clone())
            .collect();
        let request = group(id, "busiest", others);
        creator
            .create_conversation(request)
            .await
            .map_err(refused())?;
        creator
            .create_direct(&self.ids[members[1]])
            .await
            .map_err(refused())?;
        Ok(())
    }

    /// The voice of a user: its first device.
    pub fn voice(&self, user: usize) -> &Seat {
        &self.seats[user * self.devices]
    }
}

fn group(id: bytes::Bytes, title: &str, user_ids: Vec<String>) -> v1::CreateConversationRequest {
    v1::CreateConversationRequest {
        client_message_id: id,
        kind: ConversationKind::Group.into(),
        user_ids,
        title: title.to_owned(),
    }
}

/// A server that would refuse in the middle is told which limit to raise before anything begins.
async fn check_limit(target: &Target, cast: &Cast, script: &Script) -> Result<(), ReplayError> {
    let needed = members_max(script) + 1;
    let client = target.client(&cast.owner_id, "probe")?;
    let session = client.session().open().await;
    let mut session = session.map_err(TargetError::refused("the server does not answer"))?;
    session
        .connected()
        .await
        .map_err(TargetError::refused("the server does not answer"))?;
    let mut limit = 0;
    while let Some(update) = session.next().await {
        if let heddle_sdk::Update::Connected(opened) = update {
            limit = u64::from(opened.limits.unwrap_or_default().group_members_max);
            break;
        }
    }
    session.close().await;
    if limit < needed {
        let (name, is) = ("gateway.limits.group_members_max", limit);
        return Err(TargetError::Limit {
            limit: name,
            is,
            needed,
        }
        .into());
    }
    Ok(())
}

/// The most members that the channel can have, its owner left out: people whose leave waits for their
/// lines are still there when the next ones join, so nobody may count on anybody to have gone.
pub fn members_max(script: &Script) -> u64 {
    script.users.len() as u64
}
