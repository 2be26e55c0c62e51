//! Devices: a user's devices, and ending one.

use super::Api;
use crate::validate::At;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        Cell, Command, DeviceRow, PartitionQuery, RevokeDeviceCommand, Table, command::Op,
        read::Query,
    },
    time,
    v1::{self, Device, ErrorReason, device_service_server::DeviceService},
};
use prost::Message as _;
use tonic::{Request, Response, Status, async_trait};

fn device(cell: &Cell) -> Result<Device, Fault> {
    let damaged = |_| Fault::new(ErrorReason::DataLoss, "a device's row cannot be read");
    let row = DeviceRow::decode(cell.value.clone()).map_err(damaged)?;
    Ok(Device {
        device_id: String::from_utf8_lossy(&cell.clustering).into_owned(),
        app_version: row.app_version,
        create_time: Some(time::timestamp(row.first_seen_time_ms)),
        last_seen_time: Some(time::timestamp(row.last_seen_time_ms)),
        revoked: row.revoked_time_ms > 0,
    })
}

#[async_trait]
impl DeviceService for Api {
    async fn list_devices(
        &self,
        request: Request<v1::ListDevicesRequest>,
    ) -> Result<Response<v1::ListDevicesResponse>, Status> {
        let caller = self.caller(request.metadata(), "ListDevices").await?;
        let query = PartitionQuery {
            table: Table::Devices.into(),
            partition: Bytes::copy_from_slice(caller.user_id().as_bytes()),
            ..Default::default()
        };
        let found = self.edge.store.read(Query::Partition(query)).await?;
        let devices = found.cells.iter().map(device).collect::<Result<_, _>>()?;
        Ok(Response::new(v1::ListDevicesResponse { devices }))
    }

    async fn revoke_device(
        &self,
        request: Request<v1::RevokeDeviceRequest>,
    ) -> Result<Response<v1::RevokeDeviceResponse>, Status> {
        let caller = self.caller(request.metadata(), "RevokeDevice").await?;
        let v1::RevokeDeviceRequest { device_id, user_id } = request.into_inner();
        At::CALL.name("device_id", &device_id)?;
        let own = user_id.is_empty() || user_id == caller.user_id();
        if !own && !caller.identity.admin {
            let text = "only tokens with heddle.admin may revoke devices of others";
            return Err(Fault::new(ErrorReason::RoleRequired, text).into());
        }
        let user_id = if own {
            caller.user_id().to_owned()
        } else {
            user_id
        };
        At::CALL.name("user_id", &user_id)?;
        let mailbox = LogId::mailbox(&user_id);
        let op = Some(Op::RevokeDevice(RevokeDeviceCommand { device_id }));
        let command = Command {
            user_id,
            op,
            ..Default::default()
        };
        self.edge.shards.call(&self.edge, mailbox, command).await?;
        Ok(Response::new(v1::RevokeDeviceResponse {}))
    }
}
