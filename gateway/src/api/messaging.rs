//! Messaging: the session's two streams, and the unary twins of its frames.
//!
//! OpenSession and Subscribe return their stream at once; all waiting happens inside it.

use super::{Api, Caller};
use crate::{
    answers::{self, Kind},
    commands,
    session::{
        Session,
        down::{Down, Subscription},
        open::Hello,
        reader,
    },
    validate::At,
};
use heddle_proto::{
    edge::messaging_service_server::MessagingService,
    errors::Fault,
    internal::{
        RawEditMessageRequest, RawListEventsResponse, RawOpenSessionRequest, RawSendMessageRequest,
    },
    v1::{self, result::Outcome},
};
use tonic::{Request, Response, Status, Streaming, async_trait};

type Answer<T> = Result<Response<T>, Status>;

/// A twin: who calls, what is asked, and which answer comes.
macro_rules! twin {
    (
        $api:ident, $request:ident, $kind:ident, $response:ident,
        |$caller:ident, $body:ident| $ask:expr
    ) => {{
        let $caller = $api.caller($request.metadata(), stringify!($kind)).await?;
        let $body = $request.into_inner();
        let asked: Result<commands::Ask, Fault> = $ask;
        match $api.twin(&$caller, Kind::$kind, asked?).await? {
            Outcome::$response(answer) => Ok(Response::new(answer)),
            _ => Err(answers::unexpected().into()),
        }
    }};
}

#[async_trait]
impl MessagingService for Api {
    type OpenSessionStream = Down;
    type SubscribeStream = Subscription;

    async fn open_session(
        &self,
        request: Request<Streaming<RawOpenSessionRequest>>,
    ) -> Answer<Down> {
        self.edge.admission.check()?;
        let (metadata, _, frames) = request.into_parts();
        let session = Session::new(self.edge.sessions.next_id());
        let reading = reader::read(self.edge.clone(), session.clone(), metadata, frames);
        self.edge.tasks.spawn_contained("session reader", reading);
        Ok(Response::new(Down::new(self.edge.clone(), session)))
    }

    async fn subscribe(&self, request: Request<v1::SubscribeRequest>) -> Answer<Subscription> {
        self.edge.admission.check()?;
        let caller = self.caller(request.metadata(), "Subscribe").await?;
        let request = request.into_inner();
        let session = Session::new(self.edge.sessions.next_id());
        let hello = Hello {
            device_id: request.device_id,
            resume: request.resume,
            foreground: request.foreground,
            mute: true,
            ..Default::default()
        };
        hello.check(At::CALL)?;
        let down = Down::new(self.edge.clone(), session.clone());
        session.open(&self.edge, &caller.identity, hello)?;
        Ok(Response::new(Subscription(down)))
    }

    async fn send_message(
        &self,
        request: Request<RawSendMessageRequest>,
    ) -> Answer<v1::SendMessageResponse> {
        twin!(self, request, Send, Send, |caller, body| {
            commands::send(At::CALL, &self.rules(), body, caller.trusted())
        })
    }

    async fn edit_message(
        &self,
        request: Request<RawEditMessageRequest>,
    ) -> Answer<v1::EditMessageResponse> {
        twin!(self, request, Edit, Edit, |caller, body| {
            commands::edit(At::CALL, &self.rules(), body, caller.trusted())
        })
    }

    async fn erase_message(
        &self,
        request: Request<v1::EraseMessageRequest>,
    ) -> Answer<v1::EraseMessageResponse> {
        twin!(self, request, Erase, Erase, |caller, body| {
            commands::erase(At::CALL, &self.rules(), body)
        })
    }

    async fn react(&self, request: Request<v1::ReactRequest>) -> Answer<v1::ReactResponse> {
        twin!(self, request, React, React, |caller, body| {
            commands::react(At::CALL, &self.rules(), body)
        })
    }

    async fn mark(&self, request: Request<v1::MarkRequest>) -> Answer<v1::MarkResponse> {
        twin!(self, request, Mark, Mark, |caller, body| commands::mark(
            At::CALL,
            body
        ))
    }

    async fn hide_messages(
        &self,
        request: Request<v1::HideMessagesRequest>,
    ) -> Answer<v1::HideMessagesResponse> {
        twin!(self, request, Hide, Hide, |caller, body| {
            commands::hide(At::CALL, caller.mailbox(), body)
        })
    }

    async fn send_typing(
        &self,
        request: Request<v1::SendTypingRequest>,
    ) -> Answer<v1::SendTypingResponse> {
        twin!(self, request, Typing, Typing, |caller, body| {
            commands::typing(At::CALL, caller.user_id(), body)
        })
    }

    async fn send_signal(
        &self,
        request: Request<v1::SendSignalRequest>,
    ) -> Answer<v1::SendSignalResponse> {
        twin!(self, request, Signal, Signal, |caller, body| {
            commands::signal(At::CALL, &self.rules(), caller.user_id(), body)
        })
    }

    async fn watch_presence(
        &self,
        request: Request<v1::WatchPresenceRequest>,
    ) -> Answer<v1::WatchPresenceResponse> {
        let caller = self.caller(request.metadata(), "WatchPresence").await?;
        let request = request.into_inner();
        let session = self.session(&caller, &request.session_id)?;
        let watched = self
            .edge
            .presence
            .watch(&self.edge, &session, request.user_ids)
            .await?;
        Ok(Response::new(watched))
    }

    async fn set_status(
        &self,
        request: Request<v1::SetStatusRequest>,
    ) -> Answer<v1::SetStatusResponse> {
        let caller = self.caller(request.metadata(), "SetStatus").await?;
        self.status(&caller, request.into_inner()).await?;
        Ok(Response::new(v1::SetStatusResponse {}))
    }

    async fn ack(&self, request: Request<v1::AckRequest>) -> Answer<v1::AckResponse> {
        let caller = self.caller(request.metadata(), "Ack").await?;
        self.acknowledge(&caller, request.into_inner()).await?;
        Ok(Response::new(v1::AckResponse {}))
    }

    async fn ping(&self, request: Request<v1::PingRequest>) -> Answer<v1::PingResponse> {
        let caller = self.caller(request.metadata(), "Ping").await?;
        let session = self.session(&caller, &request.into_inner().session_id)?;
        Ok(Response::new(session.pong(self.edge.clock.now_ms())))
    }

    async fn set_foreground(
        &self,
        request: Request<v1::SetForegroundRequest>,
    ) -> Answer<v1::SetForegroundResponse> {
        let caller = self.caller(request.metadata(), "SetForeground").await?;
        match self.foreground(&caller, request.into_inner()).await? {
            Outcome::Foreground(answer) => Ok(Response::new(answer)),
            _ => Err(answers::unexpected().into()),
        }
    }

    async fn authenticate(
        &self,
        request: Request<v1::AuthenticateRequest>,
    ) -> Answer<v1::AuthenticateResponse> {
        let caller: Caller = self.caller(request.metadata(), "Authenticate").await?;
        let request = request.into_inner();
        let session = self.session(&caller, &request.session_id)?;
        let taken = session.authenticate(&self.edge, At::CALL, &request.token)?;
        Ok(Response::new(taken))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Answer<RawListEventsResponse> {
        let caller = self.caller(request.metadata(), "ListEvents").await?;
        let events = self.events(&caller, request.into_inner()).await?;
        Ok(Response::new(events))
    }
}
