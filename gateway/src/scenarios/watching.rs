//! Presence: who watches whom, and who hears of it.

use crate::doubles::{World, device::Device, until};
use heddle_proto::{
    internal::{SharesResult, command::Op, command_result::Outcome as Word},
    v1::{
        self, open_session_request::Frame as Up, open_session_response::Frame,
        presence_service_client::PresenceServiceClient, result::Outcome,
    },
};

fn watch(users: &[&str]) -> Up {
    let user_ids = users.iter().map(|user| (*user).to_owned()).collect();
    Up::Watch(v1::WatchPresenceRequest {
        user_ids,
        ..Default::default()
    })
}

#[tokio::test]
async fn who_shares_a_conversation_may_watch_and_hears_of_changes() {
    let world = World::new().await;
    world.chat.script(|command| match &command.op {
        Some(Op::Shares(_)) if command.user_id == "stranger" => {
            Some(Word::Shares(SharesResult::default()))
        }
        _ => None,
    });
    let (mut device, _) = Device::open(&world, "ann").await;
    device.send(1, watch(&["bob", "stranger"])).await;
    let (_, outcome) = device.result().await;
    let Ok(Outcome::Watch(watched)) = outcome else {
        panic!("{outcome:?}")
    };
    let users: Vec<_> = watched
        .presences
        .iter()
        .map(|p| p.user_id.as_str())
        .collect();
    assert_eq!(users, ["bob"]);
    world.presence.change("bob").await;
    assert!(matches!(device.next().await, Some(Frame::Presence(p)) if p.user_id == "bob"));
    let watches = || {
        let frames = world.presence.seen();
        let all: Vec<_> = frames.into_iter().flat_map(|frame| frame.watches).collect();
        all.into_iter()
            .map(|change| (change.user_id, change.watch))
            .collect::<Vec<_>>()
    };
    assert_eq!(watches(), [("bob".to_owned(), true)]);
    drop(device);
    until("nobody watches", || {
        watches().last() == Some(&("bob".to_owned(), false))
    })
    .await;
}

#[tokio::test]
async fn presence_can_be_asked_for_once() {
    let world = World::new().await;
    let mut client = PresenceServiceClient::new(world.link.clone());
    let request = v1::GetPresenceRequest {
        user_ids: vec!["bob".into()],
    };
    let answer = client
        .get_presence(world.request("ann", request))
        .await
        .unwrap()
        .into_inner();
    assert!(answer.presences[0].online);
}
