//! Registrations for pushes: their bounds, their ids, and what of them is shown.
//!
//! Pure. `api::devices` calls it. Whether an endpoint may be reached is for notify-svc to judge,
//! when it dials: names resolve anew each time.

use super::At;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    v1::{ApnsTarget, PushRegistration, WebPushTarget, push_registration::Target},
};
use prost::Message as _;
use uuid::Uuid;

/// Bytes of a device token, of any kind.
const TOKEN_BYTES_MAX: usize = 4_096;
/// Bytes of an endpoint.
const URL_BYTES_MAX: usize = 2_048;

/// The registration as it is to be kept: with the id that its target makes.
pub fn checked(
    device_id: String,
    registration: PushRegistration,
) -> Result<PushRegistration, Fault> {
    let at = At("registration");
    let missing = || at.fault("target", "must be one of the targets");
    let target = registration.target.ok_or_else(missing)?;
    match &target {
        Target::Apns(apns) => apns_token(apns)?,
        Target::Fcm(fcm) => printable("fcm.token", &fcm.token, TOKEN_BYTES_MAX)?,
        Target::WebPush(push) => web_push("web_push", push)?,
        Target::UnifiedPush(push) => web_push("unified_push", push)?,
        Target::Webhook(hook) => {
            url("webhook.url", &hook.url)?;
            at.bytes("webhook.secret", hook.secret.len(), 32, 64)?;
        }
        Target::Log(_) => {}
    }
    let target = Some(target);
    let named = PushRegistration {
        target: target.clone(),
        ..Default::default()
    };
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &named.encode_to_vec());
    Ok(PushRegistration {
        registration_id: id.to_string(),
        device_id,
        create_time: None,
        target,
    })
}

/// Takes out what only the provider may see.
pub fn hide_secrets(registration: &mut PushRegistration) {
    match &mut registration.target {
        Some(Target::WebPush(push) | Target::UnifiedPush(push)) => push.auth = Bytes::new(),
        Some(Target::Webhook(hook)) => hook.secret = Bytes::new(),
        _ => {}
    }
}

fn apns_token(apns: &ApnsTarget) -> Result<(), Fault> {
    let token = &apns.device_token;
    let length = token.len();
    if !(2..=200).contains(&length) || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let text = "must be 2 to 200 hexadecimal digits";
        return Err(At("registration").fault("apns.device_token", text));
    }
    if apns.topic.is_empty() {
        return Ok(());
    }
    printable("apns.topic", &apns.topic, 255)
}

fn web_push(field: &str, push: &WebPushTarget) -> Result<(), Fault> {
    let at = At("registration");
    url(&format!("{field}.endpoint"), &push.endpoint)?;
    let key = &push.p256dh;
    if key.len() != 65 || key.first() != Some(&4) {
        let text = "must be an uncompressed P-256 point, 65 bytes";
        return Err(at.fault(&format!("{field}.p256dh"), text));
    }
    at.bytes(&format!("{field}.auth"), push.auth.len(), 16, 16)
}

fn url(field: &str, url: &str) -> Result<(), Fault> {
    printable(field, url, URL_BYTES_MAX)?;
    if !(url.starts_with("https://") || url.starts_with("http://")) {
        return Err(At("registration").fault(field, "must be an https URL"));
    }
    Ok(())
}

fn printable(field: &str, text: &str, max: usize) -> Result<(), Fault> {
    let at = At("registration");
    at.bytes(field, text.len(), 1, max)?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(at.fault(field, "must be printable ASCII without spaces"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::v1::{FcmTarget, WebhookTarget};

    fn check(target: Target) -> Result<PushRegistration, Fault> {
        let target = Some(target);
        let registration = PushRegistration {
            registration_id: "chosen by the caller".into(),
            target,
            ..Default::default()
        };
        checked("phone".into(), registration)
    }

    fn fcm(token: &str) -> Target {
        Target::Fcm(FcmTarget {
            token: token.into(),
        })
    }

    fn subscription(endpoint: &str, key: usize, auth: usize) -> Target {
        let mut p256dh = vec![4; key];
        p256dh.truncate(key);
        Target::WebPush(WebPushTarget {
            endpoint: endpoint.into(),
            p256dh: p256dh.into(),
            auth: vec![1; auth].into(),
        })
    }

    #[test]
    fn the_id_is_made_of_the_target_alone() {
        let id = |token| check(fcm(token)).unwrap().registration_id;
        assert_eq!(id("a"), id("a"));
        assert_ne!(id("a"), id("b"));
        assert_eq!(id("a").len(), 36);
    }

    #[test]
    fn what_cannot_be_a_target_is_refused() {
        let apns = |token: &str| {
            Target::Apns(ApnsTarget {
                device_token: token.into(),
                ..Default::default()
            })
        };
        let hook = |url: &str, secret: usize| {
            Target::Webhook(WebhookTarget {
                url: url.into(),
                secret: vec![1; secret].into(),
            })
        };
        for wrong in [
            fcm(""),
            fcm("a b"),
            fcm(&"x".repeat(4_097)),
            apns("zz"),
            apns(""),
            hook("ftp://x", 32),
            hook("https://x", 31),
            hook("https://x/\n", 32),
            subscription("https://x", 64, 16),
            subscription("https://x", 65, 15),
            subscription("x", 65, 16),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong:?}");
        }
        assert!(check(apns("00ff")).is_ok() && check(hook("https://x", 32)).is_ok());
        assert!(checked("phone".into(), PushRegistration::default()).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut kept = check(subscription("https://x", 65, 16)).unwrap();
        hide_secrets(&mut kept);
        let Some(Target::WebPush(push)) = kept.target else {
            panic!("another target");
        };
        assert!(push.auth.is_empty() && push.p256dh.len() == 65);
    }
}
