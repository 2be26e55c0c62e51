//! Errors: every reason that this shape can give is provoked once through the public API, and told
//! with the status that docs/errors.md promises (DESIGN section 7). `provoke` does what provokes
//! them.

mod provoke;

use heddle_e2e::world::Failure;
use heddle_proto::errors;
use heddle_sdk::Reason;

/// Reasons that no call can provoke here, and why.
const EXCUSED: [(Reason, &str); 4] = [
    (
        Reason::Unspecified,
        "says that an error has no reason of ours",
    ),
    (
        Reason::OwnerChanging,
        "in one process the owner does not change while it serves",
    ),
    (
        Reason::DataLoss,
        "takes a damaged store: history-svc's own tests damage one",
    ),
    (Reason::Internal, "is a defect"),
];

/// The status that docs/errors.md promises for a reason, as grpc writes it.
fn promised(page: &str, reason: Reason) -> String {
    let name = format!("`{}`", reason.as_str_name());
    let row = page
        .lines()
        .find(|line| line.contains(&name))
        .unwrap_or_default();
    row.split('|')
        .nth(3)
        .unwrap_or_default()
        .trim()
        .replace('_', "")
        .to_lowercase()
}

/// Each reason comes with its own status; those that are not provoked are excused by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_is_told_as_documented() -> Result<(), Failure> {
    let mut told = provoke::Told::new();
    provoke::by_send(&mut told).await?;
    provoke::by_person(&mut told).await?;
    provoke::by_place(&mut told).await?;
    provoke::by_load(&mut told).await?;
    provoke::by_circumstance(&mut told).await?;
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
    let page = std::fs::read_to_string(page)?;
    let mut wrong = Vec::new();
    for (reason, error) in &told {
        let is = error.as_ref().map(|error| (error.reason, error.code));
        if is != Some((*reason, errors::code(*reason))) {
            wrong.push(format!("{reason:?} was to be provoked, but: {error:#?}"));
        }
        let code = format!("{:?}", errors::code(*reason)).to_lowercase();
        assert_eq!(
            promised(&page, *reason),
            code,
            "docs/errors.md about {reason:?}"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all = (0..).map_while(|number| Reason::try_from(number).ok());
    for reason in all {
        let provoked = told.iter().any(|(told, _)| *told == reason);
        let excused = EXCUSED.iter().any(|(excused, _)| *excused == reason);
        assert!(
            provoked != excused,
            "{reason:?} is neither provoked nor excused, or both"
        );
    }
    Ok(())
}
