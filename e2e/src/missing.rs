//! Missing: what a scenario needs and the machine does not have.

/// Says loudly that nothing is proved; where nobody watches (`CI`), that is a failure.
pub fn loudly(what: &str) {
    let in_ci = std::env::var("CI").is_ok_and(|value| !matches!(&*value, "" | "0" | "false"));
    assert!(!in_ci, "{what}");
    eprintln!("SKIPPED, NOTHING IS PROVED: {what}");
}
