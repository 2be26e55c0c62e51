//! `heddle chat`: a line-mode client for a person.
//!
//! `terminal` is the person's side, `memory` what outlives the process, `room` what is shown,
//! `command` what lines mean, `perform` does them. This file is the loop between the session and
//! the person.
//!
//! Invariant: a line that was typed is sent once, whatever happens to server or client; a message
//! is shown once.

mod command;
mod memory;
mod perform;
mod room;
mod terminal;

use crate::commands::show;
use crate::connect::{ConnectArgs, Connected, conversation_id, known_id};
use crate::failure::Outcome;
use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt};
use heddle_sdk::model::MailboxView;
use heddle_sdk::{Client, ConversationId, Error, Page, Sent, Session, SessionHandle, Update};
use heddle_sdk::{MessageId, v1};
use memory::Memory;
use owo_colors::OwoColorize;
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::time::Duration;
use terminal::{Input, Terminal};
use tokio::time::Instant;

/// Messages shown on entry.
const ENTRY_LEN: i32 = 20;
/// Others are told of typing at most this often, and each of them is shown at most this often.
const TYPING_INTERVAL: Duration = Duration::from_secs(4);
/// People whose presence is watched: what the server takes.
const WATCHED_MAX: usize = 500;
/// How long an end waits for lines that are not answered; they are kept and sent the next time.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// The same when lines are piped in, where nobody waits.
const PIPED_FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// Chat in the terminal
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle chat --as alice --with bob
  heddle chat --as alice --group 4f0c9a...
  heddle chat --as alice --target https://chat.example.com --ca ca.pem

/help within lists the commands. Lines that could not be sent are kept and sent later.")]
pub struct ChatArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Open the direct conversation with somebody
    #[arg(long, value_name = "USER", conflicts_with = "group")]
    with: Option<String>,
    /// Open a group, by its id
    #[arg(long, value_name = "ID", value_parser = conversation_id)]
    group: Option<ConversationId>,
}

type SendFuture = Pin<Box<dyn Future<Output = (MessageId, Result<Sent, Error>)> + Send>>;

/// A chat under way.
struct Chat {
    client: Client,
    handle: SessionHandle,
    view: MailboxView,
    terminal: Terminal,
    memory: Memory,
    here: Option<ConversationId>,
    /// What it is called, while the view does not know it yet.
    here_name: String,
    /// The newest seq shown of each conversation.
    shown: HashMap<ConversationId, u64>,
    /// Own messages that are on the screen since they were typed.
    typed: HashSet<MessageId>,
    sending: FuturesUnordered<SendFuture>,
    ticks: room::Ticks,
    online: HashMap<String, bool>,
    typing_told: Option<Instant>,
    typing_shown: HashMap<String, Instant>,
    numbers: bool,
    is_connected: bool,
}

/// Chats until the input ends.
pub async fn run(args: ChatArgs) -> Outcome {
    let Connected {
        client,
        user_id,
        memory,
    } = args.connect.connect().await?;
    let memory = Memory::open(&memory)?;
    let outbox = memory.outbox()?;
    let here = match (&args.with, args.group) {
        (Some(other), _) => {
            let direct = client.create_direct(other).await?;
            Some(known_id(&direct.conversation_id)?)
        }
        (None, group) => group,
    };
    let snapshot = client.snapshot().await?;
    let view = MailboxView::from_snapshot(user_id, &snapshot);
    let session = client
        .session()
        .resume(Some(snapshot.position))
        .outbox_store(outbox);
    let session = session.open().await?;
    session.connected().await?;
    // All up to here is about to be shown or listed.
    session.ack(snapshot.position.position);
    let mut chat = Chat {
        handle: session.handle(),
        client,
        terminal: Terminal::open()?,
        here: here.or_else(|| room::listed(&view).first().map(|one| one.id)),
        here_name: String::new(),
        view,
        memory,
        shown: HashMap::new(),
        typed: HashSet::new(),
        sending: FuturesUnordered::new(),
        ticks: room::Ticks::default(),
        online: HashMap::new(),
        typing_told: None,
        typing_shown: HashMap::new(),
        numbers: false,
        is_connected: true,
    };
    chat.greet().await?;
    chat.talk(session).await
}

impl Chat {
    async fn greet(&mut self) -> Outcome {
        let missed = self
            .memory
            .cursor()
            .map_or(0, |kept| self.view.position().saturating_sub(kept.position));
        if missed > 0 && self.view.unread() > 0 {
            let unread = self.view.unread();
            self.note(format!(
                "{unread} new since you were here; /list shows where"
            ))
            .await;
        }
        match self.here {
            Some(here) => self.enter(here).await?,
            None => {
                self.note("you are in no conversation; /help says how to begin")
                    .await
            }
        }
        Ok(())
    }

    async fn talk(mut self, mut session: Session) -> Outcome {
        self.ask().await;
        loop {
            tokio::select! {
                update = session.next() => match update {
                    Some(Update::Closed(error)) => return Err(error.into()),
                    Some(update) => {
                        self.update(update).await?;
                        if let Some(cursor) = session.cursor() {
                            self.memory.keep(cursor);
                        }
                    }
                    None => return Ok(()),
                },
                Some((id, result)) = self.sending.next() => self.sent(id, result).await,
                input = self.terminal.next() => match input {
                    Input::Line(line) => {
                        if !self.perform(&line).await {
                            break;
                        }
                        self.ask().await;
                    }
                    Input::Typing => self.typing().await,
                    Input::End => break,
                },
            }
        }
        self.end(session).await
    }

    async fn end(mut self, session: Session) -> Outcome {
        let patience = match self.terminal.is_person() {
            true => FLUSH_TIMEOUT,
            false => PIPED_FLUSH_TIMEOUT,
        };
        let until = Instant::now() + patience;
        while let Ok(Some((id, result))) = tokio::time::timeout_at(until, self.sending.next()).await
        {
            self.sent(id, result).await;
        }
        if !self.sending.is_empty() {
            let count = self.sending.len();
            eprintln!("{count} lines are not sent yet; they are kept and sent the next time");
        }
        session.close().await;
        Ok(())
    }

    async fn ask(&self) {
        let prompt = match self.here.and_then(|here| self.view.conversation(here)) {
            Some(here) if here.last_seq > 0 => {
                format!("{}> ", room::name(here, self.view.user_id()))
            }
            _ => format!("{}> ", self.here_name),
        };
        self.terminal.prompt(prompt).await;
    }

    /// Opens a conversation: what was said last, who is there.
    async fn enter(&mut self, here: ConversationId) -> Outcome {
        let details = self.client.conversation(here).await?;
        self.here = Some(here);
        let page = self.client.history(here, Page::Newest, ENTRY_LEN).await?;
        self.view.add_history(&page.events);
        let title = details.conversation.unwrap_or_default().title;
        let members = details.members.into_iter().map(|member| member.user_id);
        let others: Vec<_> = members.filter(|one| one != self.view.user_id()).collect();
        let name = if title.is_empty() {
            others.join(", ")
        } else {
            title
        };
        self.here_name = show::plain(&name);
        self.note(format!("{} ({here})", self.here_name)).await;
        self.show_page(here, &page).await;
        if let Some(known) = self.view.conversation(here) {
            self.ticks.forget(known, self.view.user_id());
        }
        self.watch(others).await;
        Ok(())
    }

    async fn show_page(&mut self, here: ConversationId, page: &v1::ListHistoryResponse) {
        let me = self.view.user_id().to_owned();
        for event in &page.events {
            if let Some(line) = room::line(event, &me, self.numbers) {
                self.terminal.show(line).await;
            }
        }
        let shown = self.shown.entry(here).or_default();
        let newest = page.events.last().map_or(0, |event| event.seq);
        *shown = newest.max(*shown);
        if newest > 0 {
            // Told again until the server has it; lost only with the session.
            let _ = self.handle.mark_read(here, newest).await;
        }
    }

    async fn watch(&mut self, people: Vec<String>) {
        let watched: Vec<_> = people.into_iter().take(WATCHED_MAX).collect();
        if watched.is_empty() {
            return;
        }
        if let Ok(presences) = self.handle.watch_presence(watched).await {
            for presence in presences {
                self.presence(&presence).await;
            }
        }
    }

    async fn update(&mut self, update: Update) -> Outcome {
        match update {
            Update::Event(delivery) if self.view.apply_event(&delivery) => {
                if let Some(event) = &delivery.event {
                    self.event(event).await;
                }
            }
            Update::State(delivery) if self.view.apply_state(&delivery) => self.state().await,
            Update::Typing(typing) => self.others_type(&typing).await,
            Update::Presence(presence) => self.presence(&presence).await,
            Update::Reset { .. } => self.start_over().await?,
            Update::Sent(outcome) => {
                // A line of an earlier chat.
                self.sent(outcome.client_message_id, outcome.result).await;
            }
            Update::Connected(_) if !self.is_connected => {
                self.is_connected = true;
                self.note("connected again").await;
            }
            Update::Disconnected { .. } if self.is_connected => {
                self.is_connected = false;
                self.note("the server is gone; what you write is sent when it is back")
                    .await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn event(&mut self, event: &v1::Event) {
        let Some(id) = ConversationId::from_wire(&event.conversation_id) else {
            return;
        };
        let shown = self.shown.entry(id).or_default();
        if event.seq <= *shown {
            return;
        }
        *shown = event.seq;
        let me = self.view.user_id().to_owned();
        let is_message = matches!(event.kind, Some(v1::event::Kind::Message(_)));
        let typed_here = MessageId::from_wire(&event.client_message_id)
            .is_some_and(|id| is_message && self.typed.remove(&id));
        if self.here != Some(id) {
            if let Some(one) = self.view.conversation(id) {
                if is_message && event.sender != me {
                    self.terminal.show(room::elsewhere(event, one, &me)).await;
                } else if event.seq == one.since_seq {
                    let name = room::name(one, &me);
                    self.note(format!("you are in {name} now; /switch {name}"))
                        .await;
                }
            }
            return;
        }
        if !typed_here && let Some(line) = room::line(event, &me, self.numbers) {
            self.terminal.show(line).await;
        }
        self.typing_shown.remove(&event.sender);
        if event.sender != me {
            let _ = self.handle.mark_read(id, event.seq).await;
        }
    }

    async fn state(&mut self) {
        let Some(here) = self.here.and_then(|here| self.view.conversation(here)) else {
            return;
        };
        let me = self.view.user_id();
        if !here.is_member() {
            self.here = None;
            self.note("you are not in this conversation any more; /list shows the others")
                .await;
        } else if let Some(line) = self.ticks.line(here, me) {
            self.terminal.show(line).await;
        }
    }

    async fn sent(&mut self, id: MessageId, result: Result<Sent, Error>) {
        match result {
            Ok(sent) if self.numbers => {
                self.terminal
                    .show(format!("        ✓ #{}", sent.seq).dimmed().to_string())
                    .await;
            }
            Ok(_) => self.terminal.show("        ✓".dimmed().to_string()).await,
            Err(error) => {
                self.typed.remove(&id);
                let text = format!("not sent: {error}");
                self.terminal.show(text.red().to_string()).await;
            }
        }
    }

    /// The server's history is not the one we followed: look anew.
    async fn start_over(&mut self) -> Outcome {
        let snapshot = self.client.snapshot().await?;
        let me = self.view.user_id().to_owned();
        self.view = MailboxView::from_snapshot(me, &snapshot);
        self.shown.clear();
        self.note("the place was lost; this is how things are now")
            .await;
        match self.here {
            Some(here) => self.enter(here).await,
            None => Ok(()),
        }
    }

    async fn note(&self, text: impl AsRef<str>) {
        self.terminal
            .show(format!("-- {}", text.as_ref()).dimmed().to_string())
            .await;
    }
}
