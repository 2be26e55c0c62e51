//! Discovery: which gateways there are.

use super::Api;
use crate::validate::At;
use heddle_proto::v1::{
    ListGatewaysRequest, ListGatewaysResponse, discovery_service_server::DiscoveryService,
};
use tonic::{Request, Response, Status, async_trait};

/// Bytes of a region's name.
const REGION_BYTES_MAX: usize = 128;

#[async_trait]
impl DiscoveryService for Api {
    async fn list_gateways(
        &self,
        request: Request<ListGatewaysRequest>,
    ) -> Result<Response<ListGatewaysResponse>, Status> {
        self.caller(request.metadata(), "ListGateways").await?;
        let region = request.into_inner().region;
        At::CALL.bytes("region", region.len(), 0, REGION_BYTES_MAX)?;
        let gateways = self.edge.presence.gateways.list(&region);
        Ok(Response::new(ListGatewaysResponse { gateways }))
    }
}
