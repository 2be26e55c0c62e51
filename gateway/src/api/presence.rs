//! Presence: who is online, asked once.

use super::Api;
use crate::{session::frames::WATCHED_MAX, validate::At};
use heddle_proto::v1::{
    GetPresenceRequest, GetPresenceResponse, presence_service_server::PresenceService,
};
use tonic::{Request, Response, Status, async_trait};

#[async_trait]
impl PresenceService for Api {
    async fn get_presence(
        &self,
        request: Request<GetPresenceRequest>,
    ) -> Result<Response<GetPresenceResponse>, Status> {
        let caller = self.caller(request.metadata(), "GetPresence").await?;
        let targets = request.into_inner().user_ids;
        At::CALL.users("user_ids", &targets, WATCHED_MAX)?;
        let presences = self
            .edge
            .presence
            .get(&self.edge, caller.user_id(), targets)
            .await?;
        Ok(Response::new(GetPresenceResponse { presences }))
    }
}
