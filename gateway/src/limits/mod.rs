//! Limits: how often a user and a device may call, and how fast sessions may open.
//!
//! Asked for each frame of a session and each unary call; sessions before anything is done for
//! them, so that a crowd that comes back at once costs no more than what is let in. `users` counts
//! users, each in a `bucket`, since other gateways count them too; devices and sessions are this
//! gateway's alone. How many connections there are is the accept loop's business, how many requests
//! of a session wait is the session's.
//!
//! Invariant: keys that have not been seen for a while are swept, so memory follows the active
//! users.

mod bucket;
mod users;

use bucket::Quota as UserQuota;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{Spent, SpentTotal},
    v1::ErrorReason,
};
use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
};
use users::Users;

heddle_kit::config! {
    /// How often users and devices may call.
    pub struct RateOptions {
        /// Frames and calls of one user, a second; 0: no limit.
        pub user_per_second: u32 = 2_000,
        /// What a user may have saved up.
        pub user_burst: u32 = 4_000,
        /// Frames and calls of one device, a second; 0: no limit.
        pub device_per_second: u32 = 1_000,
        /// What a device may have saved up.
        pub device_burst: u32 = 2_000,
        /// Gateways tell each other, through presence-svc, what users spend who spend much, so that
        /// a user has about one limit and not one at each gateway. Off, or while presence-svc or
        /// its store is away: each gateway goes by its own count.
        pub shared: bool = true,
    }
}

heddle_kit::config! {
    /// How fast sessions may open: a token bucket of this gateway.
    pub struct AdmissionOptions {
        /// Sessions that may open a second; 0: no limit. More are told to come back.
        pub sessions_per_second: u32 = 2_000,
        /// What may have been saved up.
        pub sessions_burst: u32 = 10_000,
    }
}

/// When a refused caller may try again, in milliseconds.
const RETRY_DELAY_MS: u64 = 1_000;

/// Rate limits by user and by device.
pub struct Rates {
    users: Option<Users>,
    devices: Option<DefaultKeyedRateLimiter<u64>>,
    shared: bool,
    hasher: RandomState,
}

/// Lets sessions in.
pub struct Admission {
    bucket: Option<DefaultDirectRateLimiter>,
    return_spread_ms: u64,
}

impl Admission {
    /// A full bucket; those turned away come back within `return_spread_ms` and a second.
    pub fn new(options: &AdmissionOptions, return_spread_ms: u64) -> Self {
        let quota = quota(options.sessions_per_second, options.sessions_burst);
        Self {
            bucket: quota.map(RateLimiter::direct),
            return_spread_ms,
        }
    }

    /// Counts one session, or turns it away.
    pub fn check(&self) -> Result<(), Fault> {
        let full = |bucket: &DefaultDirectRateLimiter| bucket.check().is_err();
        if !self.bucket.as_ref().is_some_and(full) {
            return Ok(());
        }
        let delay_ms = RETRY_DELAY_MS + rand::random_range(0..=self.return_spread_ms);
        let text = "many devices come back at once; connect again after the delay";
        Err(Fault::new(ErrorReason::Overloaded, text).retry_after(delay_ms))
    }
}

/// Whom a call counts for: hashes, so that no name is kept. The user's is the same at all gateways.
#[derive(Clone, Copy, Debug)]
pub struct RateKey {
    user: LogId,
    device: u64,
}

impl RateKey {
    /// Of nobody: nothing counts for it.
    pub fn nobody() -> Self {
        Self {
            user: LogId::mailbox(""),
            device: 0,
        }
    }
}

fn quota(per_second: u32, burst: u32) -> Option<Quota> {
    let per_second = NonZeroU32::new(per_second)?;
    let burst = NonZeroU32::new(burst).unwrap_or(per_second);
    Some(Quota::per_second(per_second).allow_burst(burst))
}

fn limiter(per_second: u32, burst: u32) -> Option<DefaultKeyedRateLimiter<u64>> {
    quota(per_second, burst).map(RateLimiter::keyed)
}

fn users(options: &RateOptions) -> Option<Users> {
    let per_second = NonZeroU32::new(options.user_per_second)?;
    let burst = NonZeroU32::new(options.user_burst).unwrap_or(per_second);
    Some(Users::new(UserQuota::new(per_second, burst), per_second))
}

impl Rates {
    /// Limits with nothing used up.
    pub fn new(options: &RateOptions) -> Self {
        Self {
            users: users(options),
            devices: limiter(options.device_per_second, options.device_burst),
            shared: options.shared,
            hasher: RandomState::new(),
        }
    }

    /// The key of a device of a user; calls without a device count for the user alone.
    pub fn key(&self, user_id: &str, device_id: &str) -> RateKey {
        RateKey {
            user: LogId::mailbox(user_id),
            device: self.hasher.hash_one((user_id, device_id)),
        }
    }

    /// Counts one call, or refuses it.
    pub fn check(&self, key: RateKey) -> Result<(), Fault> {
        let devices = self.devices.as_ref();
        let is_full = |users: &Users| !users.take(key.user, users.now_ns());
        let whose = match () {
            () if devices.is_some_and(|limit| limit.check_key(&key.device).is_err()) => "device",
            () if self.users.as_ref().is_some_and(is_full) => "user",
            () => return Ok(()),
        };
        let text = format!("too many calls of this {whose}; retry the same id after the delay");
        Err(Fault::new(ErrorReason::RateLimited, text).retry_after(RETRY_DELAY_MS))
    }

    /// What users have spent who spent much, since this was asked last; to be asked each second.
    pub fn spent(&self) -> Vec<Spent> {
        let spent = self.users.as_ref().map(Users::spent).unwrap_or_default();
        if self.shared { spent } else { Vec::new() }
    }

    /// What all gateways have counted of users, told upon [`Rates::spent`].
    pub fn learn(&self, totals: &[SpentTotal]) {
        let Some(users) = &self.users else { return };
        let now_ns = users.now_ns();
        totals.iter().for_each(|total| users.learn(total, now_ns));
    }

    /// Forgets keys that have their whole burst again.
    pub fn sweep(&self) {
        if let Some(users) = &self.users {
            users.sweep(users.now_ns());
        }
        if let Some(devices) = &self.devices {
            devices.retain_recent();
            devices.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(user_burst: u32, device_burst: u32) -> Rates {
        let options = RateOptions {
            user_per_second: 1,
            user_burst,
            device_per_second: 1,
            device_burst,
            ..Default::default()
        };
        Rates::new(&options)
    }

    #[test]
    fn a_device_that_floods_is_refused_and_another_is_not() {
        let rates = rates(100, 2);
        let (one, other) = (rates.key("ann", "phone"), rates.key("ann", "laptop"));
        assert!(rates.check(one).is_ok() && rates.check(one).is_ok());
        let refused = rates.check(one).unwrap_err();
        assert_eq!(refused.reason, ErrorReason::RateLimited);
        assert!(refused.retry_delay_ms > 0);
        assert!(rates.check(other).is_ok());
    }

    #[test]
    fn the_devices_of_a_user_share_the_users_limit() {
        let rates = rates(2, 100);
        assert!(rates.check(rates.key("ann", "a")).is_ok());
        assert!(rates.check(rates.key("ann", "b")).is_ok());
        assert!(rates.check(rates.key("ann", "c")).is_err());
        assert!(rates.check(rates.key("bob", "a")).is_ok());
    }

    #[test]
    fn a_crowd_is_let_in_as_fast_as_the_bucket_fills_and_told_when_to_come_back() {
        let options = AdmissionOptions {
            sessions_per_second: 1,
            sessions_burst: 3,
        };
        let admission = Admission::new(&options, 3_000);
        assert!((0..3).all(|_| admission.check().is_ok()));
        let refused = admission.check().unwrap_err();
        assert_eq!(refused.reason, ErrorReason::Overloaded);
        assert!((1_000..=4_000).contains(&refused.retry_delay_ms));
    }

    #[test]
    fn zero_means_no_limit() {
        let options = RateOptions {
            user_per_second: 0,
            device_per_second: 0,
            ..Default::default()
        };
        let rates = Rates::new(&options);
        let key = rates.key("ann", "a");
        assert!((0..10_000).all(|_| rates.check(key).is_ok()));
    }
}
