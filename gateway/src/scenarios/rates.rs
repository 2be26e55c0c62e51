//! Rates that gateways share: what others let in is taken from the bucket here.

use crate::doubles::{World, device::Device, soon};
use heddle_proto::v1::{self, ErrorReason, open_session_request::Frame as Up};

/// Pings; whether it was let in.
async fn ping(device: &mut Device) -> bool {
    device.send(1, Up::Ping(v1::PingRequest::default())).await;
    match device.result().await.1 {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.reason(), ErrorReason::RateLimited);
            false
        }
    }
}

#[tokio::test]
async fn what_a_user_spends_elsewhere_is_spent_here() {
    const BURST: u32 = 1_000_000;
    let world = World::with(|options| {
        options.rates.user_per_second = 8;
        options.rates.user_burst = BURST;
        options.rates.device_per_second = 0;
    })
    .await;
    let (mut device, _) = Device::open(&world, "ann").await;
    let told = || {
        let seen = world.presence.seen();
        seen.iter().any(|frame| !frame.spent.is_empty())
    };
    let counting = async {
        while !told() {
            assert!(ping(&mut device).await, "her own calls fit");
        }
    };
    soon("what she spends is told", counting).await;
    world.presence.spend(2 * u64::from(BURST));
    let spending = async { while ping(&mut device).await {} };
    soon("what she spends elsewhere counts", spending).await;
    let (mut other, _) = Device::open(&world, "bob").await;
    assert!(ping(&mut other).await, "others have their own");
}
