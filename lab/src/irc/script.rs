//! A day as users and steps: who says what, in which order, as a member from when to when.
//!
//! Made from a [`super::Day`], walked by the replay. Knows no server: a step says what the log
//! asks for, the replay decides how to do it.
//!
//! Invariant: walking the steps from the founders on, each join is of one who is no member, each
//! leave and each line of one who is. A line by someone the log had leave gets a join before it.

use std::collections::{BTreeSet, HashMap};

use super::{Action, Day};

/// A day, ready to be replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Everyone in the log, renames resolved; steps name them by index.
    pub users: Vec<User>,
    /// What happens, in the order of the file.
    pub steps: Vec<Step>,
    /// Lines of the file that became no step, by cause.
    pub skipped: Skipped,
}

/// One person, whatever nicks they took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// A name of their own: the first nick, with `~2` and so on when another user had it first.
    pub name: String,
    /// A member before the first step: speaks or leaves without having joined.
    pub founder: bool,
    /// Indices into `Script::steps` of what this user says, in order.
    pub lines: Vec<u32>,
}

/// One thing that one user does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line of the file, from 1.
    pub line: u32,
    /// Minutes since the midnight before the file's first line.
    pub minute: u32,
    /// Index into `Script::users`.
    pub user: u32,
    /// What the user does.
    pub what: What,
}

/// What a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Says a line.
    Say(String),
    /// Acts (`* nick acts`): a message, too; the text is without the nick.
    Act(String),
    /// Becomes a member. `implied`: the log has no such line, but the user speaks after leaving.
    Join { implied: bool },
    /// Ceases to be a member.
    Leave,
}

/// Lines that became no step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Lines that fit no form.
    pub odd: u32,
    /// Joins of members and second leaves: they change nothing.
    pub no_change: u32,
    /// Renames: they are in the users already.
    pub renames: u32,
}

impl What {
    /// The text, if it is a message.
    pub fn text(&self) -> Option<&str> {
        match self {
            What::Say(text) | What::Act(text) => Some(text),
            What::Join { .. } | What::Leave => None,
        }
    }
}

impl Script {
    /// Resolves a day's renames and memberships.
    pub fn new(day: &Day) -> Script {
        let mut writer = Writer::default();
        for (index, line) in day.lines.iter().enumerate() {
            writer.line = index as u32 + 1;
            writer.minute = line.minute;
            writer.take(&line.action);
        }
        writer.script
    }

    /// Indices of those who are members before the first step.
    pub fn founders(&self) -> impl Iterator<Item = u32> {
        (0..)
            .zip(&self.users)
            .filter(|(_, user)| user.founder)
            .map(|(index, _)| index)
    }

    /// How many messages there are.
    pub fn message_count(&self) -> usize {
        self.users.iter().map(|user| user.lines.len()).sum()
    }

    /// The `count` users with most lines, busiest first, ties by their place in the log.
    pub fn busiest(&self, count: usize) -> Vec<u32> {
        let mut users: Vec<u32> = (0..self.users.len() as u32).collect();
        users.sort_by_key(|&user| std::cmp::Reverse(self.users[user as usize].lines.len()));
        users.truncate(count);
        users
    }
}

/// What is known of a user while reading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Neither spoke, joined nor left so far.
    Unseen,
    Member,
    Gone,
}

#[derive(Default)]
struct Writer {
    script: Script,
    standing: Vec<Standing>,
    /// Who holds a nick now.
    holders: HashMap<String, u32>,
    /// All names given out.
    names: BTreeSet<String>,
    line: u32,
    minute: u32,
}

impl Writer {
    fn take(&mut self, action: &Action) {
        match action {
            Action::Say { nick, text } => self.say(nick, What::Say(text.clone())),
            Action::Act { nick, text } => self.say(nick, What::Act(text.clone())),
            Action::Join { nick } => {
                let user = self.user(nick);
                if self.standing[user as usize] == Standing::Member {
                    self.script.skipped.no_change += 1;
                } else {
                    self.standing[user as usize] = Standing::Member;
                    self.push(user, What::Join { implied: false });
                }
            }
            Action::Leave { nick } => {
                let user = self.user(nick);
                self.found(user);
                if self.standing[user as usize] == Standing::Gone {
                    self.script.skipped.no_change += 1;
                } else {
                    self.standing[user as usize] = Standing::Gone;
                    self.push(user, What::Leave);
                }
            }
            Action::Rename { nick, new_nick } => {
                let user = self.user(nick);
                self.holders.remove(nick);
                self.holders.insert(new_nick.clone(), user);
                self.script.skipped.renames += 1;
            }
            Action::Odd(_) => self.script.skipped.odd += 1,
        }
    }

    fn say(&mut self, nick: &str, what: What) {
        let user = self.user(nick);
        self.found(user);
        if self.standing[user as usize] == Standing::Gone {
            self.standing[user as usize] = Standing::Member;
            self.push(user, What::Join { implied: true });
        }
        let index = self.script.steps.len() as u32;
        self.script.users[user as usize].lines.push(index);
        self.push(user, what);
    }

    /// Who speaks or leaves first of all was there before the file began.
    fn found(&mut self, user: u32) {
        if self.standing[user as usize] == Standing::Unseen {
            self.standing[user as usize] = Standing::Member;
            self.script.users[user as usize].founder = true;
        }
    }

    fn push(&mut self, user: u32, what: What) {
        self.script.steps.push(Step {
            line: self.line,
            minute: self.minute,
            user,
            what,
        });
    }

    /// The holder of a nick; a nick that nobody holds is a new user's.
    fn user(&mut self, nick: &str) -> u32 {
        if let Some(&user) = self.holders.get(nick) {
            return user;
        }
        let user = self.script.users.len() as u32;
        let name = self.free_name(nick);
        self.script.users.push(User {
            name,
            ..User::default()
        });
        self.standing.push(Standing::Unseen);
        self.holders.insert(nick.to_owned(), user);
        user
    }

    fn free_name(&mut self, nick: &str) -> String {
        let mut name = nick.to_owned();
        let mut attempt = 1;
        while !self.names.insert(name.clone()) {
            attempt += 1;
            name = format!("{nick}~{attempt}");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irc::generate;
    use proptest::prelude::*;

    fn script(log: &str) -> Script {
        Script::new(&Day::parse(log.as_bytes()))
    }

    /// Fails where a step breaks the module's invariant.
    fn assert_consistent(script: &Script) {
        let mut members: BTreeSet<u32> = script.founders().collect();
        for step in &script.steps {
            match step.what {
                What::Join { .. } => assert!(members.insert(step.user), "{step:?}"),
                What::Leave => assert!(members.remove(&step.user), "{step:?}"),
                What::Say(_) | What::Act(_) => assert!(members.contains(&step.user), "{step:?}"),
            }
        }
    }

    #[test]
    fn a_rename_keeps_the_user() {
        let script = script(
            "[09:00] <ann> one\n=== ann is now known as ann_\n[09:00] <ann_> two\n\
             === ann_ is now known as ann\n[09:01]  * ann three\n",
        );
        assert_eq!(script.users.len(), 1);
        assert_eq!(
            (script.users[0].name.as_str(), script.users[0].founder),
            ("ann", true)
        );
        let texts: Vec<_> = script
            .steps
            .iter()
            .filter_map(|step| step.what.text())
            .collect();
        assert_eq!(texts, ["one", "two", "three"]);
        assert_eq!(script.users[0].lines, [0, 1, 2]);
        assert_eq!(script.skipped.renames, 2);
    }

    #[test]
    fn a_nick_taken_over_after_a_rename_is_another_user() {
        let script = script("[09:00] <ann> a\n=== ann is now known as eve\n[09:01] <ann> b\n");
        let names: Vec<_> = script.users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["ann", "ann~2"]);
        assert!(script.users[1].founder);
    }

    #[test]
    fn founders_speak_or_leave_without_having_joined() {
        let script = script(
            "=== joiner  has joined #c\n[09:00] <joiner> hi\n[09:00] <speaker> hi\n\
             === leaver  has left #c []\n=== quiet is now known as silent\n",
        );
        let founders: Vec<_> = script
            .founders()
            .map(|user| script.users[user as usize].name.as_str())
            .collect();
        assert_eq!(founders, ["speaker", "leaver"]);
        assert_eq!(script.users.len(), 4);
        assert_consistent(&script);
    }

    #[test]
    fn what_changes_nothing_is_skipped_and_a_missing_join_is_implied() {
        let script = script(
            "[09:00] <ann> a\n=== ann  has joined #c\n=== ann  has left #c []\n\
             === ann  has left #c []\n[09:01] <ann> b\nodd\n",
        );
        let skipped = Skipped {
            odd: 1,
            no_change: 2,
            renames: 0,
        };
        assert_eq!(script.skipped, skipped);
        let kinds: Vec<_> = script.steps.iter().map(|step| step.what.clone()).collect();
        let (a, b) = (What::Say("a".into()), What::Say("b".into()));
        assert_eq!(kinds, [a, What::Leave, What::Join { implied: true }, b]);
        assert_consistent(&script);
    }

    #[test]
    fn the_busiest_come_first() {
        let script = script("[09:00] <a> 1\n[09:00] <b> 2\n[09:00] <b> 3\n[09:00] <c> 4\n");
        assert_eq!(script.busiest(2), [1, 0]);
    }

    proptest! {
        /// Generated or not, steps are consistent and every line of the file is accounted for.
        #[test]
        fn scripts_are_consistent(
            seed in any::<u64>(), people in 1..30usize, lines in 0..300usize,
        ) {
            let day = Day::parse(generate(seed, people, lines).as_bytes());
            let script = Script::new(&day);
            assert_consistent(&script);
            let implied = script.steps.iter()
                .filter(|step| step.what == What::Join { implied: true }).count();
            let skipped = script.skipped;
            let skipped = (skipped.odd + skipped.no_change + skipped.renames) as usize;
            prop_assert_eq!(script.steps.len() - implied + skipped, day.lines.len());
        }
    }
}
