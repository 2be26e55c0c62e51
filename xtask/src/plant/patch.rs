//! A planted bug as it is stored: a patch, and above it what it breaks and which test notices.
//!
//! Read by everything else in `plant`. The head is of lines `# key: text`; a line that begins with
//! `#` and two blanks goes on with the text. git ignores what stands above the first `diff`.
//!
//! Invariant: a plant without its bug, its test or what the test sees is not read at all.

use crate::check::Failure;
use crate::repo::Repo;

/// Where the patches lie.
const DIRECTORY: &str = "xtask/plants/";
/// How a fault run is named.
const FAULTS: &str = "cargo xtask faults ";

/// A planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plant {
    /// Its name, which is that of the file.
    pub name: String,
    /// The patch, relative to the checkout.
    pub path: String,
    /// What is wrong once it is planted.
    pub bug: String,
    /// The command that must fail.
    pub caught_by: String,
    /// A fault run that must fail too: what the bug breaks can be seen from outside.
    pub under_load: Option<String>,
    /// What that command sees.
    pub sees: String,
}

/// All of them, by name.
pub fn all(repo: &Repo) -> Result<Vec<Plant>, Failure> {
    let files = repo.files()?;
    let patches = files
        .iter()
        .filter(|file| file.path.starts_with(DIRECTORY) && file.path.ends_with(".patch"));
    patches.map(|file| parse(&file.path, &file.text)).collect()
}

fn parse(path: &str, text: &str) -> Result<Plant, Failure> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let field = |key: &str| {
        field(text, key)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Failure::wrong(format!("{path}: no line `# {key}: ...` above the diff")))
    };
    let plant = Plant {
        name: file.trim_end_matches(".patch").to_owned(),
        path: path.to_owned(),
        bug: field("bug")?,
        caught_by: field("caught-by")?,
        under_load: self::field(text, "under-load"),
        sees: field("sees")?,
    };
    let runs = ["cargo test ", FAULTS];
    if !runs.iter().any(|run| plant.caught_by.starts_with(run)) {
        return Err(Failure::wrong(format!(
            "{path}: caught-by must begin with one of {runs:?}"
        )));
    }
    if let Some(load) = &plant.under_load
        && !load.starts_with(FAULTS)
    {
        return Err(Failure::wrong(format!(
            "{path}: under-load must begin with `{FAULTS}`"
        )));
    }
    Ok(plant)
}

impl Plant {
    /// All commands that must fail.
    pub fn commands(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.caught_by).chain(&self.under_load)
    }
}

fn field(text: &str, key: &str) -> Option<String> {
    let mut head = text.lines().take_while(|line| line.starts_with('#'));
    let start = format!("# {key}: ");
    let first = head.find_map(|line| line.strip_prefix(&start))?;
    let mut whole = first.trim().to_owned();
    for line in head.map_while(|line| line.strip_prefix("#  ")) {
        whole.push(' ');
        whole.push_str(line.trim());
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "\
# bug: a hole
#   is skipped
# caught-by: cargo test -p heddle-chat --lib a_gap_is_named
# sees: Not instead of Hole
diff --git a/x b/x
# bug: of the diff
";

    #[test]
    fn the_head_says_what_and_who() {
        let plant = parse("xtask/plants/hole.patch", HEAD).unwrap();
        assert_eq!((&*plant.name, &*plant.bug), ("hole", "a hole is skipped"));
        assert_eq!(
            plant.caught_by,
            "cargo test -p heddle-chat --lib a_gap_is_named"
        );
        assert_eq!(plant.sees, "Not instead of Hole");
    }

    #[test]
    fn an_incomplete_head_is_refused() {
        for missing in ["# bug", "# caught-by", "# sees"] {
            let text = HEAD.replacen(missing, "# other", 1);
            assert!(parse("xtask/plants/hole.patch", &text).is_err(), "{text}");
        }
        let text = HEAD.replace("cargo test", "make test");
        assert!(parse("xtask/plants/hole.patch", &text).is_err());
        let text = HEAD.replace("# sees", "# under-load: cargo test -p heddle-chat\n# sees");
        assert!(parse("xtask/plants/hole.patch", &text).is_err());
    }

    #[test]
    fn a_fault_run_may_have_to_fail_too() {
        let load = "cargo xtask faults rolling --shape cluster --cycles 1";
        let text = HEAD.replace("# sees", &format!("# under-load: {load}\n# sees"));
        let plant = parse("xtask/plants/hole.patch", &text).unwrap();
        assert_eq!(plant.commands().count(), 2);
        assert_eq!(plant.under_load.as_deref(), Some(load));
    }

    #[test]
    fn every_patch_of_this_checkout_is_complete() {
        let plants = all(&Repo::find().unwrap()).unwrap();
        assert!(!plants.is_empty());
    }
}
