//! Gateways: who of them lives, in Redis.
//!
//! Each has a key with a TTL, by its name (`gateway_name`); an ordered set names the keys, by when
//! they end. `mod` calls here.
//!
//! Invariant: the set's ends are by the callers' clocks and decide, as in memory; the TTL of a key
//! only sees to it that nothing stays for ever.

use heddle_proto::internal::GatewayStatus;
use prost::Message as _;
use redis::cmd;

use super::keys::{GATEWAYS, gateway_key};
use super::{RedisPresence, odd, texts};
use crate::store::{GATEWAY_TTL_MS, GATEWAYS_MAX, StoreError, gateway_name};

impl RedisPresence {
    pub(super) async fn announce_gateway(
        &self,
        gateway: &GatewayStatus,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let name = gateway_name(gateway);
        let key = gateway_key(name);
        let (mut ended, mut kept, mut named) = (cmd("ZREMRANGEBYSCORE"), cmd("SET"), cmd("ZADD"));
        ended.arg(GATEWAYS).arg("-inf").arg(now_ms);
        kept.arg(&key).arg(gateway.encode_to_vec());
        kept.arg("PX").arg(GATEWAY_TTL_MS);
        let until_ms = now_ms + GATEWAY_TTL_MS;
        named.arg(GATEWAYS).arg(until_ms).arg(name);
        self.run(vec![ended, kept, named]).await.map(|_done| ())
    }

    pub(super) async fn known_gateways(
        &self,
        now_ms: u64,
    ) -> Result<Vec<GatewayStatus>, StoreError> {
        let mut living = cmd("ZRANGEBYSCORE");
        living.arg(GATEWAYS).arg(format!("({now_ms}")).arg("+inf");
        living.arg("LIMIT").arg(0).arg(GATEWAYS_MAX);
        let found = self.run(vec![living]).await?;
        let names = found.into_iter().next().ok_or_else(|| odd("nothing"))?;
        let names: Vec<String> = redis::from_redis_value(names).map_err(odd)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = cmd("MGET");
        names.iter().for_each(|name| {
            read.arg(gateway_key(name));
        });
        let found = self.run(vec![read]).await?;
        let found = found.into_iter().next().ok_or_else(|| odd("nothing"))?;
        let texts = texts(found, names.len())?;
        // What ended between the two questions is empty.
        let living = texts.iter().filter(|text| !text.is_empty());
        Ok(living
            .filter_map(|text| GatewayStatus::decode(&text[..]).ok())
            .collect())
    }
}
