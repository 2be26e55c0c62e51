//! Does what a line says, and shows who types and who is there.

use super::command::{self, Command};
use super::{Chat, TYPING_INTERVAL, room};
use crate::commands::presence;
use crate::connect::known_id;
use crate::failure::{Failure, Outcome};
use heddle_sdk::{ConversationId, Page, WhenFull, text, v1};
use owo_colors::OwoColorize;
use tokio::time::Instant;

impl Chat {
    /// Does what a line says; false when it says to end.
    pub(super) async fn perform(&mut self, line: &str) -> bool {
        let command = match command::parse(line) {
            Ok(Command::Quit) => return false,
            Ok(command) => command,
            Err(usage) => {
                self.note(usage).await;
                return true;
            }
        };
        if let Err(failure) = self.command(command).await {
            self.terminal
                .show(failure.to_string().red().to_string())
                .await;
        }
        true
    }

    async fn command(&mut self, command: Command) -> Outcome {
        match command {
            Command::Nothing | Command::Quit => {}
            Command::Say(said) => self.say(said).await?,
            Command::Help => self.terminal.show(command::HELP).await,
            Command::List => self.list().await,
            Command::Switch(word) => self.switch(&word).await?,
            Command::Create { title, people } => {
                let group = self.client.create_group(&title, people).await?;
                self.enter(known_id(&group.conversation_id)?).await?;
            }
            Command::Add(people) => {
                self.client.add_members(self.here()?, people).await?;
            }
            Command::Remove(person) => {
                self.client.remove_member(self.here()?, &person).await?;
            }
            Command::Title(title) => {
                self.client.rename(self.here()?, &title).await?;
            }
            Command::Leave => {
                self.client.leave(self.here()?).await?;
            }
            Command::Who => self.who().await?,
            Command::History(count) => self.history(count).await?,
            Command::Edit(seq, said) => {
                self.client.edit(self.here()?, seq, text(said)).await?;
            }
            Command::Delete(seq) => {
                self.client.erase(self.here()?, seq).await?;
            }
            Command::React(seq, key) => {
                self.client.react(self.here()?, seq, &key, false).await?;
            }
            Command::Numbers => {
                self.numbers = !self.numbers;
                let now = if self.numbers { "shown" } else { "hidden" };
                self.note(format!("numbers of messages are {now}")).await;
            }
        }
        Ok(())
    }

    fn here(&self) -> Outcome<ConversationId> {
        self.here.ok_or_else(|| {
            Failure::new("you are in no conversation; /switch to one, or /create TITLE PERSON...")
        })
    }

    async fn say(&mut self, said: String) -> Outcome {
        let here = self.here()?;
        let outgoing = self.handle.outgoing(here, text(said));
        let sending = self.handle.enqueue(outgoing, WhenFull::Fail).await?;
        let id = sending.client_message_id;
        self.typed.insert(id);
        self.sending
            .push(Box::pin(async move { (id, sending.done().await) }));
        self.typing_told = None;
        Ok(())
    }

    async fn list(&self) {
        let me = self.view.user_id();
        for (at, one) in room::listed(&self.view).into_iter().enumerate() {
            let here = self.here == Some(one.id);
            self.terminal
                .show(room::list_line(at + 1, one, me, here))
                .await;
        }
    }

    async fn switch(&mut self, word: &str) -> Outcome {
        let meant = match room::meant(&self.view, word) {
            Some(meant) => meant,
            None => {
                let direct = self.client.create_direct(word).await?;
                known_id(&direct.conversation_id)?
            }
        };
        self.enter(meant).await
    }

    async fn who(&mut self) -> Outcome {
        let members = self.client.members(self.here()?).await?;
        let me = self.view.user_id().to_owned();
        let people: Vec<_> = members
            .iter()
            .map(|member| member.user_id.clone())
            .collect();
        let others = people.iter().filter(|one| **one != me).cloned().collect();
        let presences = self.client.presence(others).await?;
        for person in people {
            let known = presences.iter().find(|presence| presence.user_id == person);
            let line = match known {
                Some(known) => presence::line(known),
                None if person == me => format!("{person} is you"),
                None => person,
            };
            self.note(line).await;
        }
        Ok(())
    }

    async fn history(&mut self, count: i32) -> Outcome {
        let here = self.here()?;
        let page = self.client.history(here, Page::Newest, count).await?;
        self.view.add_history(&page.events);
        self.show_page(here, &page).await;
        Ok(())
    }

    /// Tells the others, now and then.
    pub(super) async fn typing(&mut self) {
        let told = self
            .typing_told
            .is_some_and(|at| at.elapsed() < TYPING_INTERVAL);
        let Some(here) = self.here.filter(|_| !told && self.is_connected) else {
            return;
        };
        self.typing_told = Some(Instant::now());
        // A hint: whether it arrives does not matter, and the person does not wait for it.
        let typing = self.handle.typing(here, true);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(200), typing).await;
    }

    pub(super) async fn others_type(&mut self, typing: &v1::Typing) {
        let here = self.here.map(|here| here.to_bytes());
        if !typing.active || here.as_ref() != Some(&typing.conversation_id) {
            return;
        }
        let now = Instant::now();
        let shown = self.typing_shown.get(&typing.user_id);
        if shown.is_none_or(|at| now.duration_since(*at) >= TYPING_INTERVAL * 2) {
            self.typing_shown.insert(typing.user_id.clone(), now);
            let who = crate::commands::show::plain(&typing.user_id);
            self.note(format!("{who} is typing...")).await;
        }
    }

    /// Shows a change of presence, each once.
    pub(super) async fn presence(&mut self, presence: &v1::Presence) {
        let known = self
            .online
            .insert(presence.user_id.clone(), presence.online);
        if known != Some(presence.online) {
            self.note(presence::line(presence)).await;
        }
    }
}
