//! Users, their presence and their devices.

use super::Client;
use crate::Error;
use heddle_proto::v1;
use heddle_proto::v1::device_service_client::DeviceServiceClient;
use heddle_proto::v1::presence_service_client::PresenceServiceClient;
use heddle_proto::v1::user_service_client::UserServiceClient;

impl Client {
    /// Who of these is online; people who share no conversation with the user are left out.
    pub async fn presence(&self, user_ids: Vec<String>) -> Result<Vec<v1::Presence>, Error> {
        let request = v1::GetPresenceRequest { user_ids };
        let call = |channel, request| async move {
            PresenceServiceClient::new(channel)
                .get_presence(request)
                .await
        };
        Ok(self.call(request, call).await?.presences)
    }

    /// The user.
    pub async fn whoami(&self) -> Result<v1::User, Error> {
        let call = |channel, request| async move {
            UserServiceClient::new(channel).get_self(request).await
        };
        let response = self.call(v1::GetSelfRequest {}, call).await?;
        Ok(response.user.unwrap_or_default())
    }

    /// Changes the user's name and picture.
    pub async fn update_self(&self, name: &str, avatar_url: &str) -> Result<v1::User, Error> {
        let request = v1::UpdateSelfRequest {
            name: name.to_owned(),
            avatar_url: avatar_url.to_owned(),
        };
        let call = |channel, request| async move {
            UserServiceClient::new(channel).update_self(request).await
        };
        Ok(self.call(request, call).await?.user.unwrap_or_default())
    }

    /// Other users; unknown ones are left out.
    pub async fn users(&self, user_ids: Vec<String>) -> Result<Vec<v1::User>, Error> {
        let request = v1::BatchGetUsersRequest { user_ids };
        let call = |channel, request| async move {
            UserServiceClient::new(channel)
                .batch_get_users(request)
                .await
        };
        Ok(self.call(request, call).await?.users)
    }

    /// Makes or changes a user; admin tokens may.
    pub async fn upsert_user(&self, user: v1::User) -> Result<v1::User, Error> {
        let request = v1::UpsertUserRequest { user: Some(user) };
        let call = |channel, request| async move {
            UserServiceClient::new(channel).upsert_user(request).await
        };
        Ok(self.call(request, call).await?.user.unwrap_or_default())
    }

    /// The user's devices.
    pub async fn devices(&self) -> Result<Vec<v1::Device>, Error> {
        let call = |channel, request| async move {
            DeviceServiceClient::new(channel)
                .list_devices(request)
                .await
        };
        Ok(self.call(v1::ListDevicesRequest {}, call).await?.devices)
    }

    /// Ends a device of the user.
    pub async fn revoke_device(&self, device_id: &str) -> Result<(), Error> {
        let request = v1::RevokeDeviceRequest {
            device_id: device_id.to_owned(),
            user_id: String::new(),
        };
        let call = |channel, request| async move {
            DeviceServiceClient::new(channel)
                .revoke_device(request)
                .await
        };
        self.call(request, call).await.map(drop)
    }
}
