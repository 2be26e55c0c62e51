//! Strangers: what is not one's own looks to the letter like what does not exist (P7).

use bytes::Bytes;
use heddle_e2e::{
    World,
    people::id_of,
    wire::{Device, mint},
    world::Failure,
};
use heddle_proto::v1;
use heddle_sdk::ConversationId;
use tonic::{Code, Response, Status};

/// What a stranger was told by each call about a conversation; nothing where it was answered.
type Told = Vec<(&'static str, Option<Status>)>;

/// Makes a call about a conversation, with the fields named, and notes what was told.
macro_rules! ask {
    (
        $told:ident, $client:expr, $talk:expr,
        $call:ident($request:ident { $($field:ident: $value:expr),* })
    ) => {{
        #[allow(clippy::needless_update, reason = "some requests have no other field")]
        let request = v1::$request {
            conversation_id: $talk.to_bytes(),
            $($field: $value,)*
            ..Default::default()
        };
        let answer = $client.$call(request).await;
        $told.push((stringify!($call), answer.map(drop_answer).err()));
    }};
}

fn id() -> Bytes {
    mint().to_bytes()
}

/// Calls that write or signal.
#[rustfmt::skip]
async fn of_messaging(device: &Device, talk: ConversationId, told: &mut Told) {
    let mut client = device.messaging();
    let message = || Some(heddle_sdk::text("knock"));
    ask!(told, client, talk, send_message(SendMessageRequest {
        client_message_id: id(), message: message()
    }));
    ask!(told, client, talk, edit_message(EditMessageRequest {
        client_message_id: id(), target_seq: 2, message: message()
    }));
    ask!(told, client, talk, erase_message(EraseMessageRequest {
        client_message_id: id(), target_seq: 2
    }));
    ask!(told, client, talk, react(ReactRequest {
        client_message_id: id(), target_seq: 2, key: "+1".into()
    }));
    ask!(told, client, talk, mark(MarkRequest { read_seq: 2 }));
    ask!(told, client, talk, hide_messages(HideMessagesRequest { seqs: vec![2] }));
    ask!(told, client, talk, send_typing(SendTypingRequest { active: true }));
    ask!(told, client, talk, send_signal(SendSignalRequest { r#type: "ring".into() }));
}

/// Calls about the conversation itself and its members.
#[rustfmt::skip]
async fn of_conversations(device: &Device, talk: ConversationId, told: &mut Told) {
    let mut client = device.conversations();
    ask!(told, client, talk, get_conversation(GetConversationRequest {}));
    ask!(told, client, talk, update_conversation(UpdateConversationRequest {
        client_message_id: id(), title: "mine".into()
    }));
    ask!(told, client, talk, add_members(AddMembersRequest {
        client_message_id: id(), user_ids: vec!["eve".into()], role: v1::Role::Member.into()
    }));
    ask!(told, client, talk, remove_member(RemoveMemberRequest {
        client_message_id: id(), user_id: "bob".into()
    }));
    ask!(told, client, talk, leave_conversation(LeaveConversationRequest {
        client_message_id: id()
    }));
    ask!(told, client, talk, set_member_role(SetMemberRoleRequest {
        client_message_id: id(), user_id: "bob".into(), role: v1::Role::Admin.into()
    }));
    ask!(told, client, talk, list_members(ListMembersRequest { page_size: 10 }));
    ask!(told, device.history(), talk, list_history(ListHistoryRequest { page_size: 10 }));
    let settings = v1::ConversationSettings {
        conversation_id: talk.to_bytes(),
        ..Default::default()
    };
    let settings = Some(settings);
    let request = v1::UpdateConversationSettingsRequest { settings };
    let answer = client.update_conversation_settings(request).await;
    told.push(("update_conversation_settings", answer.map(drop_answer).err()));
}

/// The first answer of each call about a conversation, as a stranger gets it.
async fn answers(device: &Device, talk: ConversationId) -> Told {
    let mut told = Told::new();
    of_messaging(device, talk, &mut told).await;
    of_conversations(device, talk, &mut told).await;
    told
}

fn drop_answer<T>(_: Response<T>) {}

/// What a stranger is told of a conversation that exists is to the letter what is told of one that
/// does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_found_and_not_yours_are_one_answer() -> Result<(), Failure> {
    let world = World::start().await?;
    let alice = world.person("alice", "phone").await?;
    let talk = id_of(
        &alice
            .client
            .create_group("weavers", vec!["bob".into()])
            .await?,
    )?;
    alice.say(talk, "a secret").await?;
    let eve = Device::connect(&world, "eve", "phone").await?;
    let nowhere = ConversationId::from_wire(&[7; 16]).expect("16 bytes");
    let (theirs, nobodys) = (answers(&eve, talk).await, answers(&eve, nowhere).await);
    for ((call, theirs), (_, nobodys)) in theirs.into_iter().zip(nobodys) {
        let theirs = theirs.unwrap_or_else(|| panic!("{call} was answered to a stranger"));
        let nobodys = nobodys.unwrap_or_else(|| panic!("{call} was answered about nothing"));
        assert_eq!(theirs.code(), Code::NotFound, "{call}: {theirs:?}");
        let say = |status: &Status| {
            (
                status.code(),
                status.message().to_owned(),
                status.details().to_vec(),
            )
        };
        assert_eq!(say(&theirs), say(&nobodys), "{call}");
    }
    assert_eq!(alice.summary(talk).await?.last_seq, 2, "nothing was stored");
    world.stop().await;
    Ok(())
}
