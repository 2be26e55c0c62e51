//! Operations: what mailboxes could not take is listed, and redriven. Admin tokens may.

use super::Client;
use crate::Error;
use heddle_proto::v1;
use heddle_proto::v1::operations_service_client::OperationsServiceClient;

impl Client {
    /// A page of what is set aside, the newest first, of the 30 days up to one (`2026-11-28`;
    /// empty: today).
    pub async fn stuck(&self, day: &str, page_token: &str) -> Result<v1::ListStuckResponse, Error> {
        let request = v1::ListStuckRequest {
            day: day.to_owned(),
            page_size: 0,
            page_token: page_token.to_owned(),
        };
        let call = |channel, request| async move {
            OperationsServiceClient::new(channel)
                .list_stuck(request)
                .await
        };
        self.call(request, call).await
    }

    /// Lets a mailbox take what was set aside; how many events it took. Fails with
    /// [`crate::Reason::DataLoss`] while the conversation's log still lacks some.
    pub async fn redrive_stuck(&self, stuck_id: &str) -> Result<u64, Error> {
        let request = v1::RedriveStuckRequest {
            stuck_id: stuck_id.to_owned(),
        };
        let call = |channel, request| async move {
            OperationsServiceClient::new(channel)
                .redrive_stuck(request)
                .await
        };
        Ok(self.call(request, call).await?.event_count)
    }
}
