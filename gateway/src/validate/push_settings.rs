//! Push settings: their bounds. Whether a time zone exists is for the mailbox's owner to say, which
//! has the list of them.
//!
//! Pure. `api::devices` and `api::conversations` call it.

use super::At;
use heddle_proto::{
    errors::Fault,
    v1::{DevicePushSettings, PushLevel, PushPreview, UserPushSettings},
};

/// Bytes of a sound's name, and of a time zone's.
const NAME_BYTES_MAX: usize = 64;

/// A level that this build knows.
pub fn level(at: At, field: &str, level: i32) -> Result<(), Fault> {
    match PushLevel::try_from(level) {
        Ok(_) => Ok(()),
        Err(_) => Err(at.fault(field, "is no level that this server knows")),
    }
}

/// Settings of a user and of a device; at least one of them must be there.
pub fn check(
    user: Option<&UserPushSettings>,
    device: Option<&DevicePushSettings>,
) -> Result<(), Fault> {
    if user.is_none() && device.is_none() {
        return Err(At::CALL.fault("user", "or device must be there"));
    }
    if let Some(user) = user {
        level(At("user"), "level", user.level)?;
        let muted_until = user.muted_until_time;
        if muted_until.is_some_and(|time| time.seconds < 0 || time.nanos < 0) {
            return Err(At("user").fault("muted_until_time", "must not be before 1970"));
        }
    }
    device.map_or(Ok(()), check_device)
}

fn check_device(device: &DevicePushSettings) -> Result<(), Fault> {
    let at = At("device");
    at.name("device_id", &device.device_id)?;
    if PushPreview::try_from(device.preview).is_err() {
        return Err(at.fault("preview", "is none that this server knows"));
    }
    name(at, "sound", &device.sound)?;
    if let Some(hours) = &device.quiet_hours {
        name(at, "quiet_hours.time_zone", &hours.time_zone)?;
    }
    Ok(())
}

fn name(at: At, field: &str, name: &str) -> Result<(), Fault> {
    at.bytes(field, name.len(), 0, NAME_BYTES_MAX)?;
    match name.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(at.fault(field, "must be printable ASCII without spaces")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::v1::QuietHours;

    #[test]
    fn what_is_wrong_is_named() {
        let device = DevicePushSettings {
            device_id: "phone".into(),
            sound: "chime.caf".into(),
            ..Default::default()
        };
        let user = UserPushSettings::default();
        assert!(check(Some(&user), Some(&device)).is_ok());
        let of = |change: fn(&mut DevicePushSettings)| {
            let mut device = device.clone();
            change(&mut device);
            check(None, Some(&device)).unwrap_err().field
        };
        assert_eq!(of(|it| it.device_id.clear()), "device.device_id");
        assert_eq!(of(|it| it.preview = 9), "device.preview");
        assert_eq!(of(|it| it.sound = "a b".into()), "device.sound");
        let hours = |zone: String| QuietHours {
            time_zone: zone,
            ..Default::default()
        };
        let long = DevicePushSettings {
            quiet_hours: Some(hours("x".repeat(65))),
            ..device.clone()
        };
        let fault = check(None, Some(&long)).unwrap_err();
        assert_eq!(fault.field, "device.quiet_hours.time_zone");
        let level = UserPushSettings { level: 9, ..user };
        assert_eq!(check(Some(&level), None).unwrap_err().field, "user.level");
        assert!(check(None, None).is_err());
    }
}
