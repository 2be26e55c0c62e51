//! Outcomes of pushes: what is settled, what is a dead letter, what is due again.
//!
//! notify-svc answers each intent that `pushes` sent; links and commits that fail end here too.
//!
//! Invariant: a push that was given up is a dead letter before its messages count as settled: both
//! stand in one commit, or the intent is sent again.

use super::{
    Shard,
    batch::Outcome,
    owner_changing,
    pushes::{About, Intent},
};
use crate::cells;
use heddle_proto::{
    internal::{DeadLetterRow, IntentOutcome, SettledPush, command_result::Outcome as Answer},
    v1::{PushOutcome, PushResult},
};

impl Shard {
    /// notify-svc has settled an intent, or asks for it again.
    pub(super) fn push_settled(&mut self, outcome: IntentOutcome) {
        let now_ms = self.now_ms();
        if !outcome.settled || now_ms < self.read_only_until_ms {
            let detail = outcome.detail;
            tracing::warn!(detail, "a push was not settled; it will be sent again");
            return self.not_pushed(outcome.id);
        }
        let Some(intent) = self.intents.remove(&outcome.id) else {
            return;
        };
        let results = outcome.results;
        self.disowned(&intent.user, &results);
        let settled = SettledPush {
            push_id: intent.push_id.clone(),
            time_ms: now_ms,
            results,
        };
        self.keep_dead_letters(&intent, &settled);
        self.note_settled(outcome.id, &intent, settled.clone());
        if let About::Test(waiter) = intent.about {
            let answer = Outcome::Ready(Answer::Push(settled));
            self.batch.answer(&waiter.edge, waiter.command, answer);
        }
    }

    fn note_settled(&mut self, id: u64, intent: &Intent, settled: SettledPush) {
        let now_ms = self.now_ms();
        let Some(live) = self.live_mailbox(&intent.user) else {
            return;
        };
        let mailbox = &mut live.mailbox;
        let taken = |result: &PushResult| {
            matches!(
                result.outcome(),
                PushOutcome::Delivered | PushOutcome::Superseded
            )
        };
        let key = intent.about.key();
        match intent.about {
            About::Messages(_) | About::Again(..) => {
                if mailbox.pushes.awaits(&key, id) {
                    mailbox.pushes.settle(&key);
                }
                if !settled.results.iter().any(taken) {
                    mailbox.notices.not_shown(&key, intent.seq);
                }
            }
            About::TakeBack(due) => {
                let entry = mailbox.list.get(&key);
                mailbox.notices.taken_back(due, entry);
            }
            About::Test(_) => {}
        }
        mailbox
            .notices
            .told(intent.badge, mailbox.list.badge(now_ms));
        mailbox.notices.settled(settled);
        let row = cells::notices(&mailbox.id, &mailbox.notices.to_row());
        self.batch.cells([row]);
        self.mind_pushes(&intent.user);
    }

    fn keep_dead_letters(&mut self, intent: &Intent, settled: &SettledPush) {
        match &intent.about {
            // Who asked is told, and nothing waits for a test.
            About::Test(_) => return,
            About::Again(_, no_letter) => self.batch.cells([no_letter.clone()]),
            About::Messages(_) | About::TakeBack(_) => {}
        }
        let dead = settled.results.iter();
        for result in dead.filter(|result| result.outcome() == PushOutcome::DeadLetter) {
            let (provider, reason) = (&result.provider, &result.detail);
            tracing::error!(
                push_id = intent.push_id,
                provider,
                reason,
                "a push is given up"
            );
            let row = DeadLetterRow {
                push_id: intent.push_id.clone(),
                user_id: intent.user.to_string(),
                result: Some(result.clone()),
                conversation_id: intent.about.key().to_vec().into(),
                seq: intent.seq,
                time_ms: settled.time_ms,
            };
            self.measures.dead_letter(provider);
            self.batch.cells([cells::dead_letter(self.index, &row)]);
        }
    }

    /// An intent did not leave, or nobody knows what became of it: it is due again.
    pub(super) fn not_pushed(&mut self, id: u64) {
        let Some(intent) = self.intents.remove(&id) else {
            return;
        };
        if let Some(live) = self.live_mailbox(&intent.user) {
            match &intent.about {
                About::Messages(key) if live.mailbox.pushes.awaits(key, id) => {
                    live.mailbox.pushes.again(key);
                }
                About::TakeBack(due) => live.mailbox.notices.again(&due.key()),
                About::Messages(_) | About::Again(..) | About::Test(_) => {}
            }
        }
        self.push_later(&intent.user);
        refuse(intent);
    }

    /// The shard goes to another node, which finds in the store what it owes.
    pub(super) fn forget_intents(&mut self) {
        std::mem::take(&mut self.intents)
            .into_values()
            .for_each(refuse);
    }
}

/// Who waits for an intent is told that nothing is known of it.
fn refuse(intent: Intent) {
    if let About::Test(waiter) = intent.about {
        waiter.edge.refuse(waiter.command, &owner_changing());
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
