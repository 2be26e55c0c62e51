//! Claims: what a token whose signature holds must say.
//!
//! Pure: the time is an argument. `keys` has checked the signature before.

use super::Identity;
use heddle_proto::ids::{self, NAME_BYTES_MAX};
use serde::Deserialize;

/// A token's content, as far as we read it.
#[derive(Debug, Deserialize)]
pub struct Claims {
    sub: String,
    exp: u64,
    #[serde(default)]
    iat: u64,
    nbf: Option<u64>,
    aud: Option<Audience>,
    iss: Option<String>,
    #[serde(default)]
    heddle: Grants,
}

/// One audience or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What a token allows beyond being its user.
#[derive(Debug, Default, Deserialize)]
struct Grants {
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    service: bool,
    act: Option<String>,
    device: Option<String>,
}

/// What this deployment asks of a token.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Must be among `aud`.
    pub audience: String,
    /// Must be `iss`, if set.
    pub issuer: Option<String>,
    /// How far clocks may be apart, in milliseconds.
    pub leeway_ms: u64,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too old.
    #[error("the token has expired; get a fresh one and authenticate with it")]
    Expired,
    /// Not valid yet.
    #[error("the token is not valid yet (nbf); check the clock of who made it")]
    Early,
    /// For somebody else.
    #[error("the token is for another audience (aud)")]
    Audience,
    /// From somebody else.
    #[error("the token is from another issuer (iss)")]
    Issuer,
    /// No user.
    #[error("the token's sub must have 1 to 128 bytes")]
    Subject,
    /// A user of Heddle's own.
    #[error("the token's user begins with heddle:, as only Heddle's own do; mint another sub")]
    Reserved,
    /// Acts for somebody without being a service.
    #[error("the token names heddle.act but is no service token")]
    Act,
    /// For no device that there can be.
    #[error("the token's heddle.device must have 1 to 128 bytes")]
    Device,
}

impl Claims {
    /// Who the token says the caller is, at a time in milliseconds since the Unix epoch.
    pub fn into_identity(self, expected: &Expected, now_ms: u64) -> Result<Identity, Refusal> {
        let expire_time_ms = self.exp.saturating_mul(1000);
        if now_ms >= expire_time_ms.saturating_add(expected.leeway_ms) {
            return Err(Refusal::Expired);
        }
        let early = |from: u64| from.saturating_mul(1000) > now_ms + expected.leeway_ms;
        if self.nbf.is_some_and(early) {
            return Err(Refusal::Early);
        }
        let meant = match &self.aud {
            Some(Audience::One(one)) => *one == expected.audience,
            Some(Audience::Many(many)) => many.contains(&expected.audience),
            None => false,
        };
        if !meant {
            return Err(Refusal::Audience);
        }
        if expected.issuer.is_some() && self.iss != expected.issuer {
            return Err(Refusal::Issuer);
        }
        let named = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
        let (user_id, actor) = match self.heddle.act {
            None => (self.sub, None),
            Some(_) if !self.heddle.service => return Err(Refusal::Act),
            Some(user) => (user, Some(self.sub)),
        };
        if !named(&user_id) || !actor.as_deref().is_none_or(named) {
            return Err(Refusal::Subject);
        }
        if ids::is_reserved(&user_id) || actor.as_deref().is_some_and(ids::is_reserved) {
            return Err(Refusal::Reserved);
        }
        if !self.heddle.device.as_deref().is_none_or(named) {
            return Err(Refusal::Device);
        }
        Ok(Identity {
            user_id,
            device_id: self.heddle.device,
            actor,
            admin: self.heddle.admin,
            service: self.heddle.service,
            issued_time_ms: self.iat.saturating_mul(1000),
            expire_time_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW_MS: u64 = 1_800_000_000_000;
    const NOW_S: u64 = NOW_MS / 1000;

    fn expected() -> Expected {
        Expected {
            audience: "heddle".into(),
            issuer: Some("us".into()),
            leeway_ms: 5_000,
        }
    }

    fn take(change: serde_json::Value) -> Result<Identity, Refusal> {
        let mut claims = json!({
            "sub": "ann", "exp": NOW_S + 60, "iat": NOW_S, "aud": "heddle", "iss": "us"
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let claims: Claims = serde_json::from_value(claims).unwrap();
        claims.into_identity(&expected(), NOW_MS)
    }

    #[test]
    fn a_good_token_names_its_user_and_its_end() {
        let identity = take(json!({})).unwrap();
        assert_eq!(identity.user_id, "ann");
        assert_eq!(identity.expire_time_ms, NOW_MS + 60_000);
        assert_eq!(identity.issued_time_ms, NOW_MS);
        assert!(!identity.admin && !identity.service && identity.actor.is_none());
    }

    #[test]
    fn each_claim_is_checked() {
        let cases = [
            (json!({"exp": NOW_S - 6}), Refusal::Expired),
            (json!({"exp": NOW_S - 5}), Refusal::Expired),
            (json!({"nbf": NOW_S + 6}), Refusal::Early),
            (json!({"aud": "other"}), Refusal::Audience),
            (json!({"aud": null}), Refusal::Audience),
            (json!({"aud": ["a", "b"]}), Refusal::Audience),
            (json!({"iss": "them"}), Refusal::Issuer),
            (json!({"iss": null}), Refusal::Issuer),
            (json!({"sub": ""}), Refusal::Subject),
            (json!({"sub": "x".repeat(129)}), Refusal::Subject),
            (json!({"sub": "heddle:canary:1:to"}), Refusal::Reserved),
            (
                json!({"heddle": {"service": true, "act": "heddle:x"}}),
                Refusal::Reserved,
            ),
            (json!({"heddle": {"act": "bob"}}), Refusal::Act),
            (json!({"heddle": {"device": ""}}), Refusal::Device),
        ];
        for (change, refusal) in cases {
            assert_eq!(take(change.clone()), Err(refusal), "{change}");
        }
    }

    #[test]
    fn what_is_just_within_bounds_is_taken() {
        let within = [
            json!({"exp": NOW_S - 4}),
            json!({"nbf": NOW_S + 5}),
            json!({"aud": ["other", "heddle"]}),
            json!({"sub": "x".repeat(128)}),
        ];
        for change in within {
            assert!(take(change.clone()).is_ok(), "{change}");
        }
    }

    #[test]
    fn a_token_for_one_device_speaks_for_no_other() {
        let identity = take(json!({"heddle": {"device": "phone"}})).unwrap();
        for named in ["phone", ""] {
            assert_eq!(identity.device_named(named.into()).unwrap(), "phone");
        }
        assert!(identity.device_named("laptop".into()).is_err());
        let any = take(json!({})).unwrap();
        assert_eq!(any.device_named("laptop".into()).unwrap(), "laptop");
    }

    #[test]
    fn a_service_token_may_act_for_a_user() {
        let identity = take(json!({"heddle": {"service": true, "act": "bob"}})).unwrap();
        assert_eq!(
            (identity.user_id.as_str(), identity.actor.as_deref()),
            ("bob", Some("ann"))
        );
    }
}
