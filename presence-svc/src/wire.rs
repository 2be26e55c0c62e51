//! Wire: what a gateway's frames say in the terms of the store, and the way back.
//!
//! `link` uses it in both directions. Pure.
//!
//! Invariant: what does not name a user properly is left out; the edge has refused it before.

use std::collections::HashSet;
use std::sync::Arc;

use heddle_proto::ids::NAME_BYTES_MAX;
use heddle_proto::internal::{
    GatewayList, PresenceAnswer, PresenceLinkResponse, SessionReport, SessionState, Spent,
    SpentTotal, StatusChange,
};
use heddle_proto::time::timestamp;
use heddle_proto::v1::Presence;
use prost::Message;
use tonic::Status;

use crate::rules::{SessionKey, UserId, View};
use crate::store::{Session, Setting, Spending};

/// Bytes of a status text; a longer one is not taken. The edge has refused it before.
const STATUS_BYTES_MAX: usize = 1024;

/// What goes down to a gateway.
pub enum Down {
    News(Presence),
    Answer(PresenceAnswer),
    Gateways(GatewayList),
    Totals(Vec<SpentTotal>),
    /// The end of the stream.
    End(Status),
}

impl Down {
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::News(presence) => presence.encoded_len(),
            Self::Answer(answer) => answer.encoded_len(),
            Self::Gateways(gateways) => gateways.encoded_len(),
            Self::Totals(totals) => totals.iter().map(Message::encoded_len).sum(),
            Self::End(_) => 0,
        }
    }
}

/// One frame of what waits. An end among it drops the rest.
pub fn frame(items: Vec<Down>) -> Result<PresenceLinkResponse, Status> {
    let mut frame = PresenceLinkResponse::default();
    for item in items {
        match item {
            Down::News(presence) => frame.changes.push(presence),
            Down::Answer(answer) => frame.answers.push(answer),
            Down::Gateways(gateways) => frame.gateways = Some(gateways),
            Down::Totals(totals) => frame.totals.extend(totals),
            Down::End(status) => return Err(status),
        }
    }
    Ok(frame)
}

/// What some frames bring to the store.
#[derive(Default)]
pub struct Batch {
    alive: HashSet<Session>,
    gone: HashSet<Session>,
    settings: Vec<Setting>,
}

impl Batch {
    pub fn add_reports(&mut self, gateway: &Arc<str>, reports: Vec<SessionReport>) {
        for report in reports
            .into_iter()
            .filter(|report| is_name(&report.user_id))
        {
            let alive = report.state() == SessionState::Foreground;
            let key = SessionKey {
                gateway: gateway.clone(),
                session: report.session_id,
            };
            let session = Session {
                user: report.user_id.into(),
                key,
            };
            if alive {
                self.gone.remove(&session);
                self.alive.insert(session);
            } else {
                self.gone.insert(session);
            }
        }
    }

    pub fn add_settings(&mut self, statuses: Vec<StatusChange>) {
        let valid = |change: &StatusChange| {
            is_name(&change.user_id) && change.status.len() <= STATUS_BYTES_MAX
        };
        self.settings
            .extend(statuses.into_iter().filter(valid).map(|change| Setting {
                user: change.user_id.into(),
                status: change.status.into(),
                hidden: change.hidden,
            }));
    }

    /// Who is alive; then, of these and others, who is gone; and settings, in their order.
    pub fn parts(self) -> (Vec<Session>, Vec<Session>, Vec<Setting>) {
        (
            self.alive.into_iter().collect(),
            self.gone.into_iter().collect(),
            self.settings,
        )
    }
}

/// What users have spent, in order; an id that is none is left out.
pub fn spending(spent: &[Spent]) -> Vec<Spending> {
    let one = |spent: &Spent| {
        let user = spent.user.as_ref().try_into().ok()?;
        let calls = spent.calls;
        Some(Spending { user, calls })
    };
    spent.iter().filter_map(one).collect()
}

/// What all have counted, for what one gateway has spent.
pub fn totals(spending: &[Spending], totals: &[u64]) -> Vec<SpentTotal> {
    let one = |(spending, total): (&Spending, &u64)| SpentTotal {
        user: bytes::Bytes::copy_from_slice(&spending.user),
        calls: spending.calls,
        total: *total,
    };
    spending.iter().zip(totals).map(one).collect()
}

/// Whether this can be the id of a user or a gateway.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
}

/// A view as it stands on the wire.
pub fn presence(user: &UserId, view: View) -> Presence {
    Presence {
        user_id: user.to_string(),
        online: view.online,
        last_seen_time: view.last_seen_ms.map(timestamp),
        status: view.status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: SessionState) -> SessionReport {
        SessionReport {
            user_id: "ann".into(),
            session_id: 1,
            state: state.into(),
        }
    }

    /// A phone that is put away and taken up again within one batch is in use.
    #[test]
    fn the_last_report_of_a_session_wins() {
        use SessionState::{Background, Foreground, Gone};
        for (states, gone) in [
            (vec![Foreground, Background], 1),
            (vec![Foreground, Gone, Foreground], 0),
            (vec![Background, Foreground], 0),
        ] {
            let mut batch = Batch::default();
            batch.add_reports(&"edge-1".into(), states.into_iter().map(report).collect());
            let (alive, left, _) = batch.parts();
            assert_eq!((alive.len(), left.len()), (1, gone));
        }
    }

    #[test]
    fn nameless_and_overlong_items_are_left_out() {
        let mut batch = Batch::default();
        let nameless = SessionReport {
            user_id: String::new(),
            ..report(SessionState::Gone)
        };
        batch.add_reports(&"edge-1".into(), vec![nameless]);
        let long = "x".repeat(STATUS_BYTES_MAX + 1);
        let status = StatusChange {
            user_id: "ann".into(),
            status: long,
            hidden: true,
        };
        batch.add_settings(vec![status]);
        let (alive, gone, settings) = batch.parts();
        assert!(alive.is_empty() && gone.is_empty() && settings.is_empty());
    }

    #[test]
    fn who_spends_has_sixteen_bytes() {
        let spent = |user: &'static [u8]| Spent {
            user: user.into(),
            calls: 2,
        };
        let taken = spending(&[spent(b"short"), spent(&[7; 16]), spent(&[7; 17])]);
        assert_eq!(taken.len(), 1);
        let told = totals(&taken, &[9]);
        assert_eq!(
            (&*told[0].user, told[0].calls, told[0].total),
            (&[7; 16][..], 2, 9)
        );
    }

    #[test]
    fn an_end_drops_the_rest_of_its_frame() {
        let items = vec![
            Down::News(Presence::default()),
            Down::End(Status::aborted("over")),
        ];
        assert_eq!(frame(items).unwrap_err().code(), tonic::Code::Aborted);
    }
}
