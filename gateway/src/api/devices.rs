//! Devices: a user's devices, where pushes to them go and which are wanted, and ending one.
//!
//! Reads the rows that the mailbox's owner writes; changes go through that owner. Invariant: the
//! secrets of a registration's target leave the server only towards its provider.

use super::Api;
use crate::validate::{At, push_settings, registration};
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    internal::{
        Cell, DeviceRow, PartitionQuery, PushSettingsCommand, RevokeDeviceCommand, Table,
        UnregisterPushCommand, UserRow, command::Op, read::Query,
    },
    time,
    v1::{self, Device, ErrorReason, device_service_server::DeviceService},
};
use prost::Message as _;
use tonic::{Request, Response, Status, async_trait};

fn row(cell: &Cell) -> Result<DeviceRow, Fault> {
    let damaged = |_| Fault::new(ErrorReason::DataLoss, "a device's row cannot be read");
    DeviceRow::decode(cell.value.clone()).map_err(damaged)
}

fn device(cell: &Cell) -> Result<Device, Fault> {
    let row = row(cell)?;
    Ok(Device {
        device_id: String::from_utf8_lossy(&cell.clustering).into_owned(),
        app_version: row.app_version,
        create_time: Some(time::timestamp(row.first_seen_time_ms)),
        last_seen_time: Some(time::timestamp(row.last_seen_time_ms)),
        revoked: row.revoked_time_ms > 0,
    })
}

impl Api {
    /// The rows of a user's devices.
    async fn device_cells(&self, user_id: &str) -> Result<Vec<Cell>, Fault> {
        self.cells_of(Table::Devices, user_id).await
    }

    async fn cells_of(&self, table: Table, user_id: &str) -> Result<Vec<Cell>, Fault> {
        let query = PartitionQuery {
            table: table.into(),
            partition: Bytes::copy_from_slice(user_id.as_bytes()),
            ..Default::default()
        };
        Ok(self.edge.store.read(Query::Partition(query)).await?.cells)
    }
}

#[async_trait]
impl DeviceService for Api {
    async fn list_devices(
        &self,
        request: Request<v1::ListDevicesRequest>,
    ) -> Result<Response<v1::ListDevicesResponse>, Status> {
        let caller = self.caller(request.metadata(), "ListDevices").await?;
        let cells = self.device_cells(caller.user_id()).await?;
        let devices = cells.iter().map(device).collect::<Result<_, _>>()?;
        Ok(Response::new(v1::ListDevicesResponse { devices }))
    }

    async fn revoke_device(
        &self,
        request: Request<v1::RevokeDeviceRequest>,
    ) -> Result<Response<v1::RevokeDeviceResponse>, Status> {
        let caller = self.caller(request.metadata(), "RevokeDevice").await?;
        let v1::RevokeDeviceRequest { device_id, user_id } = request.into_inner();
        At::CALL.name("device_id", &device_id)?;
        let user_id = caller.about(user_id)?;
        let op = Op::RevokeDevice(RevokeDeviceCommand { device_id });
        self.ask_mailbox(user_id, op).await?;
        Ok(Response::new(v1::RevokeDeviceResponse {}))
    }

    async fn register_push(
        &self,
        request: Request<v1::RegisterPushRequest>,
    ) -> Result<Response<v1::RegisterPushResponse>, Status> {
        let caller = self.caller(request.metadata(), "RegisterPush").await?;
        let v1::RegisterPushRequest {
            device_id,
            registration,
        } = request.into_inner();
        At::CALL.name("device_id", &device_id)?;
        let registration = registration::checked(device_id, registration.unwrap_or_default())?;
        let mut kept = registration.clone();
        registration::hide_secrets(&mut kept);
        let op = Op::RegisterPush(registration);
        self.ask(&caller, caller.mailbox(), op).await?;
        let registration = Some(kept);
        Ok(Response::new(v1::RegisterPushResponse { registration }))
    }

    async fn list_push_registrations(
        &self,
        request: Request<v1::ListPushRegistrationsRequest>,
    ) -> Result<Response<v1::ListPushRegistrationsResponse>, Status> {
        let method = "ListPushRegistrations";
        let caller = self.caller(request.metadata(), method).await?;
        let mut registrations = Vec::new();
        for cell in self.device_cells(caller.user_id()).await? {
            registrations.extend(row(&cell)?.push_registrations);
        }
        registrations
            .iter_mut()
            .for_each(registration::hide_secrets);
        Ok(Response::new(v1::ListPushRegistrationsResponse {
            registrations,
        }))
    }

    async fn unregister_push(
        &self,
        request: Request<v1::UnregisterPushRequest>,
    ) -> Result<Response<v1::UnregisterPushResponse>, Status> {
        let caller = self.caller(request.metadata(), "UnregisterPush").await?;
        let v1::UnregisterPushRequest {
            device_id,
            registration_id,
        } = request.into_inner();
        At::CALL.name("device_id", &device_id)?;
        At::CALL.name("registration_id", &registration_id)?;
        let op = Op::UnregisterPush(UnregisterPushCommand {
            device_id,
            registration_id,
        });
        self.ask(&caller, caller.mailbox(), op).await?;
        Ok(Response::new(v1::UnregisterPushResponse {}))
    }

    async fn get_push_settings(
        &self,
        request: Request<v1::GetPushSettingsRequest>,
    ) -> Result<Response<v1::GetPushSettingsResponse>, Status> {
        let caller = self.caller(request.metadata(), "GetPushSettings").await?;
        let mut devices = Vec::new();
        for cell in self.device_cells(caller.user_id()).await? {
            devices.extend(row(&cell)?.push);
        }
        let users = self.cells_of(Table::Users, caller.user_id()).await?;
        let user = users.into_iter().next();
        let user = user.and_then(|cell| UserRow::decode(cell.value).ok());
        Ok(Response::new(v1::GetPushSettingsResponse {
            user: user.and_then(|user| user.push),
            devices,
        }))
    }

    async fn update_push_settings(
        &self,
        request: Request<v1::UpdatePushSettingsRequest>,
    ) -> Result<Response<v1::UpdatePushSettingsResponse>, Status> {
        let caller = self
            .caller(request.metadata(), "UpdatePushSettings")
            .await?;
        let v1::UpdatePushSettingsRequest { user, device } = request.into_inner();
        push_settings::check(user.as_ref(), device.as_ref())?;
        let op = Op::PushSettings(PushSettingsCommand { user, device });
        self.ask(&caller, caller.mailbox(), op).await?;
        Ok(Response::new(v1::UpdatePushSettingsResponse {}))
    }
}
