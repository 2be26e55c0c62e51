//! What was set aside: for operators alone, the newest first, and redriven by the mailbox's owner.

use crate::doubles::World;
use bytes::Bytes;
use heddle_proto::{
    internal::{
        Cell, Command, RedriveStuckResult, StuckRow, Table, command::Op, command_result::Outcome,
    },
    keys,
    time::DAY_MS,
    v1::{self, operations_service_client::OperationsServiceClient},
};
use prost::Message as _;
use serde_json::json;
use tonic::{Code, Request};

/// An operator's request.
fn admin<T>(world: &World, body: T) -> Request<T> {
    let token = world.token_for("ops", 3_600, json!({"admin": true}));
    let mut request = Request::new(body);
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// Something that was set aside so many days and milliseconds ago, by a shard.
fn set_aside(world: &World, shard: u32, days: u64, ago_ms: u64) -> Cell {
    let day = world.clock.now_ms() / DAY_MS - days;
    let row = StuckRow {
        log_id: vec![9; 16].into(),
        user_id: format!("bob-{shard}"),
        from_seq: 2,
        to_seq: 3,
        time_ms: (day + 1) * DAY_MS - 1 - ago_ms,
        ..Default::default()
    };
    let cell = Cell {
        table: Table::Stuck.into(),
        partition: keys::of_day(day, shard),
        clustering: Bytes::copy_from_slice(&(u64::MAX - row.time_ms).to_be_bytes()),
        value: row.encode_to_vec().into(),
        delete: false,
    };
    world.store.put(cell.clone());
    cell
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_over_shards_and_days() {
    let world = World::new().await;
    for (shard, days, ago_ms) in [(1, 0, 1), (0, 0, 2), (1, 0, 3), (0, 1, 1), (63, 29, 5)] {
        set_aside(&world, shard, days, ago_ms);
    }
    set_aside(&world, 0, 30, 0);
    let mut client = OperationsServiceClient::new(world.link.clone());
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    loop {
        let ask = v1::ListStuckRequest {
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = client.list_stuck(admin(&world, ask)).await.unwrap();
        let page = page.into_inner();
        let users = page.stuck_pieces.iter().map(|it| it.user_id.clone());
        pages.push(users.collect::<Vec<_>>());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let whole = [
        vec!["bob-1", "bob-0"],
        vec!["bob-1", "bob-0"],
        vec!["bob-63"],
    ];
    assert_eq!(pages, whole, "30 days, today among them");
    let ask = v1::ListStuckRequest {
        day: "2001-02-03".into(),
        ..Default::default()
    };
    let page = client.list_stuck(admin(&world, ask)).await.unwrap();
    assert_eq!(page.into_inner(), v1::ListStuckResponse::default());
}

#[tokio::test]
async fn a_redrive_goes_to_the_owner_of_the_mailbox_with_its_row() {
    let world = World::new().await;
    let cell = set_aside(&world, 1, 3, 0);
    world.chat.script(|command| match &command.op {
        Some(Op::RedriveStuck(_)) => {
            let done = RedriveStuckResult { event_count: 2 };
            Some(Outcome::RedriveStuck(done))
        }
        _ => None,
    });
    let mut client = OperationsServiceClient::new(world.link.clone());
    let all = client.list_stuck(admin(&world, v1::ListStuckRequest::default()));
    let piece = all.await.unwrap().into_inner().stuck_pieces.remove(0);
    let ask = |stuck_id: &str| v1::RedriveStuckRequest {
        stuck_id: stuck_id.into(),
    };
    let done = client.redrive_stuck(admin(&world, ask(&piece.stuck_id)));
    assert_eq!(done.await.unwrap().into_inner().event_count, 2);
    let redrive = |command: &Command| match &command.op {
        Some(Op::RedriveStuck(ask)) => Some((command.user_id.clone(), ask.clone())),
        _ => None,
    };
    let (user_id, ask_of) = world.chat.saw("the redrive", redrive).await;
    assert_eq!(user_id, "bob-1");
    assert_eq!(
        (&ask_of.partition, &ask_of.clustering),
        (&cell.partition, &cell.clustering)
    );
    assert_eq!(ask_of.row.unwrap().encode_to_vec(), cell.value);
    let unknown = format!("{}AAAA", piece.stuck_id);
    for (stuck_id, code) in [(&*unknown, Code::NotFound), ("", Code::InvalidArgument)] {
        let refused = client.redrive_stuck(admin(&world, ask(stuck_id))).await;
        assert_eq!(refused.unwrap_err().code(), code, "{stuck_id:?}");
    }
}

#[tokio::test]
async fn none_but_operators_are_served() {
    let world = World::new().await;
    let mut client = OperationsServiceClient::new(world.link.clone());
    let ask = world.request("ann", v1::ListStuckRequest::default());
    let refused = client.list_stuck(ask).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let ask = world.request("ann", v1::RedriveStuckRequest::default());
    let refused = client.redrive_stuck(ask).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(world.store.queries().is_empty(), "nothing was read");
}
