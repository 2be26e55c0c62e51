//! Rates over two gateways: a user has about one limit, not one at each.

use heddle_e2e::{Raw, cluster::Cluster, eventually, world::Failure};
use heddle_plan::{Service, Size};
use heddle_sdk::v1::{self, open_session_request::Frame as Up};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The user's limit.
const PER_SECOND: u32 = 40;
/// Gateways have heard of each other by then.
const BEFORE: Duration = Duration::from_secs(4);
/// How long calls are counted.
const COUNTED: Duration = Duration::from_secs(8);
/// Between two calls of a device: five times what the limit lets in.
const PACE: Duration = Duration::from_millis(5);

/// Calls much more often than the user may; how many calls were let in while they counted.
async fn flood(mut device: Raw, begin: Instant) -> Result<u32, Failure> {
    let (count_from, count_until) = (begin + BEFORE, begin + BEFORE + COUNTED);
    let mut let_in = 0;
    while Instant::now() < count_until {
        let answer = device.ask(Up::Ping(v1::PingRequest::default())).await;
        if answer.is_ok() && Instant::now() >= count_from {
            let_in += 1;
        }
        // tidy: allow-sleep the pace of the load
        sleep(PACE).await;
    }
    Ok(let_in)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_at_two_gateways_has_about_one_limit() -> Result<(), Failure> {
    let slow = |service: &Service| match service.binary {
        "gateway" => vec![
            format!("gateway.rates.user_per_second={PER_SECOND}"),
            format!("gateway.rates.user_burst={PER_SECOND}"),
            "gateway.rates.device_per_second=0".to_owned(),
        ],
        _ => Vec::new(),
    };
    let size = Size {
        chat: 1,
        gateway: 2,
        ..Size::default()
    };
    let Some(cluster) = Cluster::start_with(size, slow).await? else {
        return Ok(());
    };
    let device = async |gateway: usize, name: &str| -> Result<Raw, Failure> {
        let target = cluster.target_of(gateway)?;
        let token = target.tokens.mint("ann")?;
        let open = || async { Raw::session(&target.url, &token, name).await.ok() };
        Ok(eventually("a session", open).await)
    };
    let (phone, laptop) = (device(0, "phone").await?, device(1, "laptop").await?);
    let begin = Instant::now();
    let (one, other) = tokio::try_join!(flood(phone, begin), flood(laptop, begin))?;
    let limit = PER_SECOND * COUNTED.as_secs() as u32;
    let let_in = one + other;
    println!("{one} and {other} of {limit}");
    assert!(let_in < limit * 3 / 2, "{one} and {other} of {limit}");
    assert!(let_in > limit / 2, "{one} and {other} of {limit}");
    Ok(())
}
