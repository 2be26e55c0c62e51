//! Strangers: what is not one's own looks to the letter like what does not exist (P7).

use heddle_e2e::{
    World,
    people::id_of,
    wire::{Device, mint},
    world::Failure,
};
use heddle_proto::v1;
use heddle_sdk::ConversationId;
use tonic::{Code, Response, Status};

/// The first answer of each call about a conversation, as a stranger gets it.
async fn answers(device: &Device, talk: ConversationId) -> Vec<(&'static str, Option<Status>)> {
    let conversation_id = talk.to_bytes();
    let id = || mint().to_bytes();
    let (mut messaging, mut conversations) = (device.messaging(), device.conversations());
    let mut all = Vec::new();
    macro_rules! ask {
        ($client:expr, $call:ident, $request:ident { $($field:ident : $value:expr),* }) => {{
            #[allow(clippy::needless_update, reason = "some requests have no other field")]
            let request = v1::$request {
                conversation_id: conversation_id.clone(), $($field: $value,)* ..Default::default()
            };
            all.push((stringify!($call), $client.$call(request).await.map(drop_answer).err()));
        }};
    }
    let message = || Some(heddle_sdk::text("knock"));
    ask!(
        messaging,
        send_message,
        SendMessageRequest {
            client_message_id: id(),
            message: message()
        }
    );
    ask!(
        messaging,
        edit_message,
        EditMessageRequest {
            client_message_id: id(),
            target_seq: 2,
            message: message()
        }
    );
    ask!(
        messaging,
        erase_message,
        EraseMessageRequest {
            client_message_id: id(),
            target_seq: 2
        }
    );
    ask!(
        messaging,
        react,
        ReactRequest {
            client_message_id: id(),
            target_seq: 2,
            key: "+1".into()
        }
    );
    ask!(messaging, mark, MarkRequest { read_seq: 2 });
    ask!(
        messaging,
        hide_messages,
        HideMessagesRequest { seqs: vec![2] }
    );
    ask!(messaging, send_typing, SendTypingRequest { active: true });
    ask!(
        messaging,
        send_signal,
        SendSignalRequest {
            r#type: "ring".into()
        }
    );
    ask!(conversations, get_conversation, GetConversationRequest {});
    ask!(
        conversations,
        update_conversation,
        UpdateConversationRequest {
            client_message_id: id(),
            title: "mine".into()
        }
    );
    ask!(
        conversations,
        add_members,
        AddMembersRequest {
            client_message_id: id(),
            user_ids: vec!["eve".into()],
            role: v1::Role::Member.into()
        }
    );
    ask!(
        conversations,
        remove_member,
        RemoveMemberRequest {
            client_message_id: id(),
            user_id: "bob".into()
        }
    );
    ask!(
        conversations,
        leave_conversation,
        LeaveConversationRequest {
            client_message_id: id()
        }
    );
    ask!(
        conversations,
        set_member_role,
        SetMemberRoleRequest {
            client_message_id: id(),
            user_id: "bob".into(),
            role: v1::Role::Admin.into()
        }
    );
    ask!(
        conversations,
        list_members,
        ListMembersRequest { page_size: 10 }
    );
    ask!(
        device.history(),
        list_history,
        ListHistoryRequest { page_size: 10 }
    );
    let settings = v1::ConversationSettings {
        conversation_id: talk.to_bytes(),
        ..Default::default()
    };
    let request = v1::UpdateConversationSettingsRequest {
        settings: Some(settings),
    };
    let answer = conversations.update_conversation_settings(request).await;
    all.push((
        "update_conversation_settings",
        answer.map(drop_answer).err(),
    ));
    all
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
