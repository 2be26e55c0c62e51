//! The director: walks the day's steps, sends people away and has the server killed on the way.
//!
//! Invariant: a window of sends is open over the whole day; nobody's absence can stop it for good.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::absence::Absences;
use super::cast::{Cast, Seat, members_max};
use super::device::{Order, notes};
use super::judge::Judge;
use super::kills::Killer;
use super::ledger::{Ledger, ROOMS};
use super::line::Line;
use super::ours::Ours;
use super::person::{Person, TASKS_MAX, Task};
use super::{ReplayError, ReplayOptions, ReplayReport};
use crate::irc::Script;
use crate::measure::raise_open_files;
use crate::progress::Progress;

/// After so long without an answer everybody is called back.
const PATIENCE: Duration = Duration::from_secs(1);
/// After so long without any answer the replay is stuck.
const STUCK: Duration = Duration::from_secs(120);
/// How often is looked whether something has come.
const POLL: Duration = Duration::from_millis(10);
/// Resumes that there must be.
const RESUMES_MIN: u64 = 200;
/// Files that a process needs beside its sessions.
const OTHER_FILES: u64 = 500;

/// Replays a script.
pub async fn run(options: &ReplayOptions, script: &Script) -> Result<ReplayReport, ReplayError> {
    let sessions = script.users.len() as u64 * u64::from(options.devices);
    raise_files(sessions)?;
    let members = usize::try_from(members_max(script) + 1).unwrap_or(usize::MAX);
    let (target, server) = Ours::open(options, members).await?;
    let ledger = Arc::new(Ledger::new(script.users.len()));
    let cast = Cast::assemble(options, &target, script, &ledger).await?;
    let killer = Killer::start(server, options.kill_every, ledger.clone());
    let messages = script.message_count();
    let mut director = Director {
        people: Vec::new(),
        tasks: JoinSet::new(),
        window: Arc::new(Semaphore::new(options.window as usize)),
        absences: Absences::plan(options.seed, cast.ids.len(), cast.devices, messages),
        away: BTreeSet::new(),
        beside: Default::default(),
        progress: Progress::new("messages", messages as u64, options.json),
        ledger,
        cast,
    };
    director.engage();
    let started = Instant::now();
    let walked = tokio::select! {
        walked = director.walk(script) => walked,
        () = killer.failed() => Ok(()),
    };
    let (kills, _server) = killer.stop().await?;
    walked?;
    director.progress.say("catching up");
    director.resume_more(options.seed).await?;
    let judge = Judge::prepare(&director.cast, &director.ledger, script, &director.beside).await?;
    judge.wait().await;
    let elapsed = started.elapsed();
    director.progress.say("checking");
    judge.compare().await?;
    director.progress.finish();
    Ok(ReplayReport::new(
        options, script, &director, kills, elapsed,
    ))
}

fn raise_files(sessions: u64) -> Result<(), ReplayError> {
    // Each person may open a connection for calls beside its sessions.
    let needed = sessions * 2 + OTHER_FILES;
    let limit = raise_open_files(needed);
    if let Some(note) = limit.note() {
        eprintln!("{note}");
    }
    match limit.now {
        Some(now) if now < needed => Err(ReplayError::Files {
            needed: sessions,
            limit: now,
        }),
        _ => Ok(()),
    }
}

/// The one who knows the script.
pub struct Director {
    people: Vec<mpsc::Sender<Task>>,
    tasks: JoinSet<()>,
    window: Arc<Semaphore>,
    absences: Absences,
    away: BTreeSet<usize>,
    /// What was said in the rooms beside, by room: user, line.
    pub beside: [Vec<(usize, Line)>; ROOMS],
    progress: Progress,
    /// What all share.
    pub ledger: Arc<Ledger>,
    /// Everyone.
    pub cast: Cast,
}

impl Director {
    fn engage(&mut self) {
        for user in 0..self.cast.ids.len() {
            let voice = self.cast.voice(user);
            let person = Person {
                user,
                id: self.cast.ids[user].clone(),
                client: self.cast.clients[user].clone(),
                owner: self.cast.owner.clone(),
                channel: self.cast.rooms[0],
                voice: voice.orders.clone(),
                settled: voice.settled.clone(),
                ledger: self.ledger.clone(),
            };
            let (tasks, told) = mpsc::channel(TASKS_MAX);
            self.people.push(tasks);
            self.tasks.spawn(person.run(told));
        }
    }

    async fn walk(&mut self, script: &Script) -> Result<(), ReplayError> {
        let mut index = 0;
        for step in &script.steps {
            let user = step.user as usize;
            let Some(line) = Line::of(&step.what) else {
                self.task(user, Task::Change(step.what.clone())).await;
                continue;
            };
            let (leaving, returning) = self.absences.due(index);
            self.send_away(leaving).await;
            self.call_back(returning).await;
            // The room of the busiest hears each third of their lines, the two each second.
            for room in 1..ROOMS {
                let is_in = self.cast.beside[room].contains(&user);
                if is_in && index.is_multiple_of(4 - room) {
                    self.beside[room].push((user, line.clone()));
                    self.say(user, room, &line).await?;
                }
            }
            self.say(user, 0, &line).await?;
            index += 1;
            self.progress.set(index as u64);
        }
        self.finish().await
    }

    async fn say(&mut self, user: usize, room: usize, line: &Line) -> Result<(), ReplayError> {
        let permit = self.permit().await?;
        self.task(user, Task::Say(room, line.to_message(), permit))
            .await;
        Ok(())
    }

    /// Room in the window. If there is none for long, those who are away may hold it.
    async fn permit(&mut self) -> Result<OwnedSemaphorePermit, ReplayError> {
        let since = Instant::now();
        loop {
            if let Ok(Ok(permit)) = timeout(PATIENCE, self.window.clone().acquire_owned()).await {
                return Ok(permit);
            }
            let away: Vec<usize> = self.away.iter().copied().collect();
            self.call_back(away).await;
            if since.elapsed() > STUCK {
                return Err(self.stuck("no send was answered"));
            }
        }
    }

    fn stuck(&self, what: &str) -> ReplayError {
        let (in_flight, speakers) = self.ledger.in_flight();
        let settled = self.ledger.settled.load(Ordering::Relaxed);
        let problems = self.ledger.problems().examples.join("\n");
        ReplayError::Stuck(format!(
            "{what} for {STUCK:?}: {settled} answered, {in_flight} in flight over {speakers} \
             speakers\n{problems}"
        ))
    }

    async fn task(&self, user: usize, task: Task) {
        // A person that is gone has said why in the ledger.
        let _ = self.people[user].send(task).await;
    }

    async fn send_away(&mut self, seats: Vec<usize>) {
        for seat in seats {
            if self.away.insert(seat) {
                tell(&self.cast.seats[seat], Order::Offline).await;
            }
        }
    }

    async fn call_back(&mut self, seats: Vec<usize>) {
        for seat in seats {
            if self.away.remove(&seat) {
                tell(&self.cast.seats[seat], Order::Online).await;
            }
        }
    }

    /// Everybody comes back, and everything that was begun is answered.
    async fn finish(&mut self) -> Result<(), ReplayError> {
        let away: Vec<usize> = self.away.iter().copied().collect();
        self.call_back(away).await;
        self.people.clear();
        let mut last = (Instant::now(), 0);
        while !self.tasks.is_empty() {
            let _ = timeout(PATIENCE, self.tasks.join_next()).await;
            let settled = self.ledger.settled.load(Ordering::Relaxed);
            if settled != last.1 {
                last = (Instant::now(), settled);
            } else if last.0.elapsed() > STUCK {
                return Err(self.stuck("some sends were not answered"));
            }
        }
        Ok(())
    }

    /// Resumes so far, and of how many users.
    pub fn resumes(&self) -> (u64, usize) {
        let mut users = BTreeSet::new();
        let mut count = 0;
        for seat in &self.cast.seats {
            let resumes = notes(&seat.notes).resumes;
            count += u64::from(resumes);
            if resumes > 0 {
                users.insert(seat.user);
            }
        }
        (count, users.len())
    }

    /// In a short log the day is over before there were enough.
    async fn resume_more(&mut self, seed: u64) -> Result<(), ReplayError> {
        let fifth = self.cast.ids.len().div_ceil(5);
        let since = Instant::now();
        let mut round = seed as usize;
        loop {
            let (count, users) = self.resumes();
            if count >= RESUMES_MIN && users >= fifth {
                return Ok(());
            }
            if since.elapsed() > STUCK {
                return Err(self.stuck("sessions do not resume"));
            }
            let members = (0..self.cast.seats.len())
                .filter(|&seat| self.ledger.is_member(self.cast.seats[seat].user));
            let seats: Vec<usize> = members.filter(|seat| seat % 3 == round % 3).collect();
            round += 1;
            self.send_away(seats.clone()).await;
            self.call_back(seats.clone()).await;
            let wanted = count + seats.len() as u64;
            let deadline = Instant::now() + PATIENCE * 5;
            while self.resumes().0 < wanted && Instant::now() < deadline {
                sleep(POLL).await;
            }
        }
    }
}

async fn tell(seat: &Seat, order: Order) {
    // A device whose session ended for good has said why in the ledger.
    let _ = seat.orders.send(order).await;
}
