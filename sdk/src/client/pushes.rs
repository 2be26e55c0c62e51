//! Pushes: which are wanted, tests, what became of them, and those that were given up.

use super::Client;
use crate::Error;
use heddle_proto::v1;
use heddle_proto::v1::device_service_client::DeviceServiceClient;
use heddle_proto::v1::push_service_client::PushServiceClient;

impl Client {
    /// Says where pushes to a device of the user go; the registration as it is kept.
    pub async fn register_push(
        &self,
        device_id: &str,
        target: v1::push_registration::Target,
    ) -> Result<v1::PushRegistration, Error> {
        let registration = v1::PushRegistration {
            target: Some(target),
            ..Default::default()
        };
        let request = v1::RegisterPushRequest {
            device_id: device_id.to_owned(),
            registration: Some(registration),
        };
        let call = |channel, request| async move {
            DeviceServiceClient::new(channel)
                .register_push(request)
                .await
        };
        let response = self.call(request, call).await?;
        Ok(response.registration.unwrap_or_default())
    }

    /// Takes a registration back.
    pub async fn unregister_push(
        &self,
        device_id: &str,
        registration_id: &str,
    ) -> Result<(), Error> {
        let request = v1::UnregisterPushRequest {
            device_id: device_id.to_owned(),
            registration_id: registration_id.to_owned(),
        };
        let call = |channel, request| async move {
            DeviceServiceClient::new(channel)
                .unregister_push(request)
                .await
        };
        self.call(request, call).await.map(drop)
    }

    /// Changes which pushes the user wants; what is `None` stays as it is.
    pub async fn update_push_settings(
        &self,
        user: Option<v1::UserPushSettings>,
        device: Option<v1::DevicePushSettings>,
    ) -> Result<(), Error> {
        let request = v1::UpdatePushSettingsRequest { user, device };
        let call = |channel, request| async move {
            DeviceServiceClient::new(channel)
                .update_push_settings(request)
                .await
        };
        self.call(request, call).await.map(drop)
    }

    /// Sends a test to the devices of a user (empty: the client's own) and waits for what each
    /// provider says.
    pub async fn test_push(&self, user_id: &str) -> Result<Vec<v1::PushResult>, Error> {
        let request = v1::TestPushRequest {
            user_id: user_id.to_owned(),
        };
        let call = |channel, request| async move {
            PushServiceClient::new(channel).test_push(request).await
        };
        Ok(self.call(request, call).await?.results)
    }

    /// What became of a push to a user (empty: the client's own).
    pub async fn push(&self, user_id: &str, push_id: &str) -> Result<v1::GetPushResponse, Error> {
        let request = v1::GetPushRequest {
            push_id: push_id.to_owned(),
            user_id: user_id.to_owned(),
        };
        let call = |channel, request| async move {
            PushServiceClient::new(channel).get_push(request).await
        };
        self.call(request, call).await
    }

    /// A page of a day's pushes that were given up (`2026-11-28`; empty: today); admin tokens may.
    pub async fn dead_letters(
        &self,
        day: &str,
        page_token: &str,
    ) -> Result<v1::ListDeadLettersResponse, Error> {
        let request = v1::ListDeadLettersRequest {
            day: day.to_owned(),
            page_size: 0,
            page_token: page_token.to_owned(),
        };
        let call = |channel, request| async move {
            PushServiceClient::new(channel)
                .list_dead_letters(request)
                .await
        };
        self.call(request, call).await
    }

    /// Pushes again what a dead letter was about; the new push, empty where nothing waits. Admin
    /// tokens may.
    pub async fn redrive_push(&self, dead_letter_id: &str) -> Result<String, Error> {
        let request = v1::RedrivePushRequest {
            dead_letter_id: dead_letter_id.to_owned(),
        };
        let call = |channel, request| async move {
            PushServiceClient::new(channel).redrive_push(request).await
        };
        Ok(self.call(request, call).await?.push_id)
    }
}
