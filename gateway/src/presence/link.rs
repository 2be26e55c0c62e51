//! Link: the stream to presence-svc.
//!
//! After each connection everything is said anew: who is here, and whom they watch; who is here
//! also when the store has forgotten.
//!
//! Invariant: the reader never waits for a session.

use super::{Item, PresenceClient, changes, report, watch::Change};
use crate::{connect, edge::Edge};
use futures_util::{Stream, StreamExt, stream};
use heddle_kit::{
    Tasks,
    link::{Opened, OutboxOptions, outbox::outbox_sized},
};
use heddle_proto::internal::{
    PresenceLinkRequest, presence_link_service_client::PresenceLinkServiceClient,
};
use prost::Message as _;
use std::sync::{Arc, PoisonError};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Items that may wait: life signs of all sessions of a large gateway.
const ITEMS_MAX: usize = 256 * 1024;

pub(super) fn start(edge: &Arc<Edge>, tasks: &Tasks, stop: CancellationToken) {
    let edge = edge.clone();
    tasks.spawn("presence link", async move {
        let connection = |opened| edge.presence.connection(&edge, opened);
        connect::keep("presence", stop, connection).await;
    });
}

impl PresenceClient {
    async fn connection(&self, edge: &Arc<Edge>, opened: Opened) -> Result<(), Status> {
        let options = OutboxOptions {
            items_max: ITEMS_MAX,
            ..Default::default()
        };
        let (outbox, frames) = outbox_sized(options, size_of, frame);
        let gateway_id = edge.gateway_id.clone();
        let hello = PresenceLinkRequest {
            gateway_id,
            ..Default::default()
        };
        let frames = stream::once(async { hello }).chain(frames);
        *self.outbox.write().unwrap_or_else(PoisonError::into_inner) = Some(outbox);
        self.report_all(edge);
        self.announce(edge);
        let watched = Change {
            added: self.watches().users(),
            removed: Vec::new(),
        };
        self.send(changes(watched));
        let ended = self.listen(edge, frames, opened).await;
        self.service.failed();
        self.outbox
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.queries().clear();
        ended
    }

    fn report_all(&self, edge: &Edge) {
        let sessions = edge.sessions.all();
        self.send(
            sessions
                .iter()
                .map(|session| report(session, session.is_foreground())),
        );
    }

    async fn listen(
        &self,
        edge: &Edge,
        frames: impl Stream<Item = PresenceLinkRequest> + Send + 'static,
        opened: Opened,
    ) -> Result<(), Status> {
        let mut client = PresenceLinkServiceClient::new(self.service.current());
        let mut answers = client.presence_link(frames).await?.into_inner();
        opened.tell();
        while let Some(frame) = answers.next().await {
            let frame = frame?;
            for presence in &frame.changes {
                self.changed(edge, presence);
            }
            if let Some(list) = frame.gateways {
                if list.forgotten {
                    self.report_all(edge);
                }
                let (options, own_id) = (&edge.options, &edge.gateway_id);
                self.gateways.learn(list.gateways, options, own_id);
            }
            if !frame.totals.is_empty() {
                self.learn_rates(edge, &frame.totals);
            }
            for answer in frame.answers {
                let asked = self.queries().remove(&answer.id);
                if let Some(asked) = asked {
                    // A caller that has gone needs no answer.
                    drop(asked.send(answer.presences));
                }
            }
        }
        Ok(())
    }
}

fn size_of(item: &Item) -> usize {
    match item {
        Item::Report(report) => report.encoded_len(),
        Item::Watch(watch) => watch.encoded_len(),
        Item::Query(query) => query.encoded_len(),
        Item::Status(status) => status.encoded_len(),
        Item::Gateway(status) => status.encoded_len(),
        Item::Spent(spent) => spent.iter().map(prost::Message::encoded_len).sum(),
    }
}

fn frame(items: Vec<Item>) -> PresenceLinkRequest {
    let mut frame = PresenceLinkRequest::default();
    for item in items {
        match item {
            Item::Report(report) => frame.reports.push(report),
            Item::Watch(watch) => frame.watches.push(watch),
            Item::Query(query) => frame.queries.push(query),
            Item::Status(status) => frame.statuses.push(status),
            Item::Gateway(status) => frame.gateway = Some(status),
            Item::Spent(spent) => frame.spent.extend(spent),
        }
    }
    frame
}
