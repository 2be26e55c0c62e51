//! Providers: which are set up, each with its lane's settings.
//!
//! `service` opens them once. Invariant: every kind has a lane, so that whatever a device has
//! registered for comes to an end that can be seen.

use std::io;
use std::sync::Arc;

use heddle_kit::{SharedClock, Tasks};

use crate::config::{LaneConfig, NotifyConfig};
use crate::http::Client;
use crate::http::dial::{Dialer, SystemResolver, roots};
use crate::provider::{
    ApnsProvider, FcmProvider, Kind, LogProvider, PushProvider, Unconfigured, WebPushProvider,
    WebhookProvider,
};
use crate::service::OpenError;

/// A provider with its lane's settings.
pub type Provider = (Kind, LaneConfig, Arc<dyn PushProvider>);

/// All of them, as configured. Connections are tasks of `tasks`.
pub async fn open(
    config: &NotifyConfig,
    clock: &SharedClock,
    tasks: &Tasks,
) -> Result<Vec<Provider>, OpenError> {
    let (log_file, ca_file) = (config.log_file.clone(), config.ca_file.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let log = LogProvider::open(log_file.as_deref()).map_err(OpenError::LogFile)?;
        let roots = roots(ca_file.as_deref()).map_err(OpenError::CaFile)?;
        Ok((log, roots))
    });
    let opened = opening
        .await
        .map_err(|error| OpenError::LogFile(io::Error::from(error)))?;
    let (log, roots) = opened?;
    let dialer = Dialer::new(Arc::new(SystemResolver), roots);
    let client = Client::new(dialer, config.connections_max, tasks.clone());
    let mut all = reached(config, &client, clock);
    all.push((Kind::Log, config.log.clone(), Arc::new(log)));
    Ok(all)
}

/// Those that are reached over HTTP.
fn reached(config: &NotifyConfig, client: &Client, clock: &SharedClock) -> Vec<Provider> {
    let allowed = &config.endpoints_allowed;
    let web_push = |name, config: &crate::config::WebPushConfig| -> Arc<dyn PushProvider> {
        let (config, allowed) = (config.clone(), allowed.clone());
        Arc::new(WebPushProvider::new(
            name,
            config,
            allowed,
            client.clone(),
            clock.clone(),
        ))
    };
    let missing =
        |name, setting| -> Arc<dyn PushProvider> { Arc::new(Unconfigured { name, setting }) };
    let apns: Arc<dyn PushProvider> = match config.apns.key_file {
        Some(_) => Arc::new(ApnsProvider::new(
            config.apns.clone(),
            client.clone(),
            clock.clone(),
        )),
        None => missing("apns", "notify.apns.key_file"),
    };
    let fcm: Arc<dyn PushProvider> = match config.fcm.service_account_file {
        Some(_) => Arc::new(FcmProvider::new(
            config.fcm.clone(),
            client.clone(),
            clock.clone(),
        )),
        None => missing("fcm", "notify.fcm.service_account_file"),
    };
    let browsers = match config.web_push.vapid_key_file {
        Some(_) => web_push("web_push", &config.web_push),
        None => missing("web_push", "notify.web_push.vapid_key_file"),
    };
    let unified = web_push("unified_push", &config.unified_push);
    let webhook = WebhookProvider::new(allowed.clone(), client.clone(), clock.clone());
    vec![
        (Kind::Apns, config.apns.lane.clone(), apns),
        (Kind::Fcm, config.fcm.lane.clone(), fcm),
        (Kind::WebPush, config.web_push.lane.clone(), browsers),
        (Kind::UnifiedPush, config.unified_push.lane.clone(), unified),
        (Kind::Webhook, config.webhook.clone(), Arc::new(webhook)),
    ]
}
