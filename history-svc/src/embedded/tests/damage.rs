//! Bytes that change, journals that are cut, ends that are torn.

use super::*;
use heddle_proto::internal::{Cell, Table};

/// Some commits, so that there is something to lose.
async fn fill(store: &Arc<EmbeddedStore>, commits: u64) {
    let epoch = take(&dynamic(store)).await;
    for number in 1..=commits {
        let mut commit = commit(number, epoch, vec![batch(log(1), number, 1)]);
        commit.cells.push(Cell {
            table: Table::Users.into(),
            partition: format!("user-{number}").into(),
            value: "row".into(),
            ..Cell::default()
        });
        put_ok(&dynamic(store), commit).await;
    }
}

/// A store with tables, a journal and all else, closed.
async fn filled(dir: &Path) {
    let store = open(dir);
    fill(&store, 40).await;
    let engine = store.engine().clone();
    let flush = move || {
        for keyspace in [&engine.logs, &engine.cells] {
            keyspace.rotate_memtable_and_wait().unwrap();
        }
    };
    tokio::task::spawn_blocking(flush).await.unwrap();
    let epoch = take(&dynamic(&store)).await;
    for number in 41..=60 {
        put_ok(
            &dynamic(&store),
            commit(number, epoch, vec![batch(log(1), number, 1)]),
        )
        .await;
    }
    store.close().await;
}

/// What a reader gets: all rows and cells, or the reason why not.
async fn contents(dir: &Path) -> Result<String, String> {
    let store = EmbeddedStore::open(&config(dir)).map_err(|error| error.to_string())?;
    let store: contract::Store = Arc::new(store);
    let mut reads = vec![StoreRead::Rows(all_rows(log(1)))];
    reads.extend((1..=40).map(|number| {
        StoreRead::Cells(crate::store::CellsRead {
            table: Table::Users as u8,
            partition: format!("user-{number}").into(),
            prefix: Bytes::new(),
            after: Bytes::new(),
            until: Bytes::new(),
            rows_max: 10,
        })
    }));
    let answers = store.read(reads).await;
    let answers: Result<Vec<_>, _> = answers.into_iter().collect();
    answers
        .map(|answers| format!("{answers:?}"))
        .map_err(|error| error.to_string())
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&path, &target).unwrap();
    }
}

/// Length of what a file holds, without the zeros that the engine has put behind.
fn written_len(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1)
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_never_served() {
    let original = tempfile::tempdir().unwrap();
    filled(original.path()).await;
    let sound = contents(original.path()).await.unwrap();
    let (mut noticed, mut harmless) = (0, Vec::new());
    for file in files(original.path()) {
        let name = file.strip_prefix(original.path()).unwrap();
        let length = written_len(&file);
        let step = (length / 40).max(1);
        for at in (0..length).step_by(step).chain([length.saturating_sub(1)]) {
            let dir = tempfile::tempdir().unwrap();
            copy(original.path(), dir.path());
            let path = dir.path().join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            if bytes.is_empty() {
                continue;
            }
            bytes[at] ^= 0x10;
            std::fs::write(&path, bytes).unwrap();
            match contents(dir.path()).await {
                Ok(found) if found == sound => harmless.push((name.to_owned(), at)),
                Ok(_) => panic!("byte {at} of {} changed what is served", name.display()),
                Err(error) => {
                    assert!(error.len() > 20, "{error}");
                    noticed += 1;
                }
            }
        }
    }
    eprintln!("noticed {noticed}, harmless {harmless:?}");
    assert!(noticed > harmless.len());
}

#[tokio::test]
async fn a_cut_journal_is_always_reported() {
    let original = tempfile::tempdir().unwrap();
    filled(original.path()).await;
    let journal = Path::new("store/db/0.jnl");
    let length = written_len(&original.path().join(journal));
    for cut in [1, 2, 10, 60, 200, 1000, length / 2, length] {
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(dir.path().join(journal))
            .unwrap();
        file.set_len((length - cut) as u64).unwrap();
        let error = EmbeddedStore::open(&config(dir.path())).err().unwrap();
        assert!(
            matches!(error, OpenError::DataLoss { .. }),
            "{cut}: {error}"
        );
        assert!(error.to_string().contains("accept_data_loss"), "{error}");
        // Refused again: nothing was repaired in silence. Accepted once, it opens from then on.
        assert!(EmbeddedStore::open(&config(dir.path())).is_err());
        let accepting = HistoryConfig {
            accept_data_loss: true,
            ..config(dir.path())
        };
        let store = EmbeddedStore::open(&accepting).unwrap();
        store.close().await;
        drop(store);
        let store = open(dir.path());
        let epoch = take(&dynamic(&store)).await;
        put_ok(
            &dynamic(&store),
            commit(1, epoch, vec![batch(log(9), 1, 1)]),
        )
        .await;
    }
}

#[tokio::test]
async fn the_torn_end_of_a_crash_is_dropped_and_nothing_else() {
    let original = tempfile::tempdir().unwrap();
    filled(original.path()).await;
    let sound = contents(original.path()).await.unwrap();
    let journal = Path::new("store/db/0.jnl");
    let length = written_len(&original.path().join(journal));
    let bytes = std::fs::read(original.path().join(journal)).unwrap();
    // The last batch once more, as the beginning of a batch that was never acknowledged.
    for torn in [1, 5, 13, 30, 100] {
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        let mut torn_bytes = bytes[..length].to_vec();
        torn_bytes.extend_from_slice(&bytes[..torn]);
        torn_bytes.extend_from_slice(&[0xee; 9]);
        std::fs::write(dir.path().join(journal), torn_bytes).unwrap();
        assert_eq!(contents(dir.path()).await.as_ref(), Ok(&sound), "{torn}");
    }
}
