//! Where a user's pushes go, pure: the registrations in the rows of the user's devices.
//!
//! `shard::registrations` stores the rows that change; `shard::pushes` sends intents along them.
//!
//! Invariant: a registration is at most once among the user's devices (its id is made of its
//! target), none is on a revoked device, and a device has at most [`REGISTRATIONS_MAX`].

use super::push::Device;
use heddle_proto::v1::PushRegistration;
use std::collections::HashMap;

/// Registrations of one device; one more is refused.
pub const REGISTRATIONS_MAX: usize = 8;

/// Why a registration is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The user has no such device, or it is revoked.
    NoDevice,
    /// The device has as many as it may.
    Full,
}

/// Keeps a registration and takes it from whichever other device had it. Answers with the devices
/// whose rows have changed.
pub fn register(
    devices: &mut HashMap<String, Device>,
    registration: PushRegistration,
) -> Result<Vec<String>, Refused> {
    let id = registration.registration_id.clone();
    let device = devices
        .get_mut(&registration.device_id)
        .filter(|device| !device.is_revoked())
        .ok_or(Refused::NoDevice)?;
    let kept = &mut device.row.push_registrations;
    if kept.iter().any(|kept| kept.registration_id == id) {
        return Ok(Vec::new());
    }
    if kept.len() >= REGISTRATIONS_MAX {
        return Err(Refused::Full);
    }
    let new_home = registration.device_id.clone();
    kept.push(registration);
    let mut changed = vec![new_home.clone()];
    for (device_id, device) in devices.iter_mut().filter(|(id, _)| **id != new_home) {
        if remove(device, &id) {
            changed.push(device_id.clone());
        }
    }
    Ok(changed)
}

/// Removes a registration. Whether it was there.
pub fn remove(device: &mut Device, registration_id: &str) -> bool {
    let kept = &mut device.row.push_registrations;
    let before = kept.len();
    kept.retain(|kept| kept.registration_id != registration_id);
    kept.len() < before
}

/// The registrations of these devices.
pub fn of(devices: &HashMap<String, Device>, ids: &[&str]) -> Vec<PushRegistration> {
    let named = ids.iter().filter_map(|id| devices.get(*id));
    named
        .flat_map(|device| device.row.push_registrations.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> HashMap<String, Device> {
        ["phone", "tablet"]
            .map(|id| (id.to_owned(), Device::default()))
            .into()
    }

    fn registration(device: &str, id: &str) -> PushRegistration {
        PushRegistration {
            device_id: device.into(),
            registration_id: id.into(),
            ..Default::default()
        }
    }

    fn ids(devices: &HashMap<String, Device>, device: &str) -> Vec<String> {
        let found = of(devices, &[device]).into_iter();
        found.map(|kept| kept.registration_id).collect()
    }

    #[test]
    fn the_same_target_again_changes_nothing() {
        let mut all = devices();
        let changed = register(&mut all, registration("phone", "a"));
        assert_eq!(changed, Ok(vec!["phone".to_owned()]));
        assert_eq!(register(&mut all, registration("phone", "a")), Ok(vec![]));
        assert_eq!(ids(&all, "phone"), ["a"]);
    }

    #[test]
    fn a_target_moves_to_the_device_that_names_it_last() {
        let mut all = devices();
        for device in ["phone", "tablet"] {
            register(&mut all, registration(device, "a")).unwrap();
        }
        assert_eq!(ids(&all, "phone"), Vec::<String>::new());
        assert_eq!(ids(&all, "tablet"), ["a"]);
    }

    #[test]
    fn a_device_that_is_unknown_revoked_or_full_takes_none() {
        let mut all = devices();
        let unknown = register(&mut all, registration("watch", "a"));
        assert_eq!(unknown, Err(Refused::NoDevice));
        for id in 0..REGISTRATIONS_MAX {
            register(&mut all, registration("phone", &id.to_string())).unwrap();
        }
        let full = register(&mut all, registration("phone", "more"));
        assert_eq!(full, Err(Refused::Full));
        all.get_mut("tablet").unwrap().row.revoked_time_ms = 1;
        let revoked = register(&mut all, registration("tablet", "a"));
        assert_eq!(revoked, Err(Refused::NoDevice));
    }
}
