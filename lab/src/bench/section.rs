//! What keeps its place on docs/performance.md when one of the two benches writes its part anew.
//!
//! The comparison of one process writes the page's beginning, the bench of a cluster the section
//! between two marks, people all that stands after.
//!
//! Invariant: nothing is lost that the writer did not write itself.

/// The section of the cluster lies between these.
const BEGIN: &str = "<!-- from here on by `cargo xtask bench --shape cluster` -->\n";
const END: &str = "<!-- up to here by `cargo xtask bench --shape cluster` -->\n";
/// What people write at the end of the page begins with this.
const BY_HAND: &str = "\n## What is missed, and why\n";

/// What follows the comparison of one process on a page that is there: the cluster's section and
/// what people wrote.
pub fn after_comparison(page: &str) -> &str {
    let section = page.find(BEGIN).map(|start| {
        let before = &page[..start];
        before.strip_suffix('\n').map_or(start, str::len)
    });
    let starts = [section, page.find(BY_HAND)];
    let first = starts.into_iter().flatten().min();
    first.map_or("", |start| &page[start..])
}

/// The page with this as the cluster's section: in its place, or before what people wrote.
pub fn with_cluster(page: &str, section: &str) -> String {
    let section = format!("{BEGIN}\n{}\n\n{END}", section.trim());
    let marked = page.find(BEGIN).and_then(|start| {
        let end = start + page[start..].find(END)? + END.len();
        Some((start, end))
    });
    if let Some((start, end)) = marked {
        return format!("{}{section}{}", &page[..start], &page[end..]);
    }
    let (before, after) = page.split_at(page.find(BY_HAND).unwrap_or(page.len()));
    format!("{}\n\n{section}{after}", before.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAND: &str = "\n## What is missed, and why\n\nThe disk.\n";

    #[test]
    fn the_cluster_gets_a_place_and_keeps_it() {
        let page = format!("# Performance\n\n| old | figures |\n{HAND}");
        let first = with_cluster(&page, "## The cluster\n\nOne.\n");
        let place = format!("figures |\n\n{BEGIN}\n## The cluster\n\nOne.\n\n{END}{HAND}");
        assert!(first.ends_with(&place), "{first}");
        let second = with_cluster(&first, "## The cluster\n\nTwo.\n");
        assert_eq!(second, first.replace("One.", "Two."));
    }

    #[test]
    fn a_new_comparison_keeps_the_cluster_and_what_people_wrote() {
        let page = format!("# Performance\n\n| old | figures |\n{HAND}");
        assert_eq!(after_comparison(&page), HAND);
        let page = with_cluster(&page, "## The cluster");
        let renewed = format!("# Performance\n\nNew.\n{}", after_comparison(&page));
        assert_eq!(renewed, page.replace("| old | figures |", "New."));
        assert_eq!(after_comparison("# Performance\n"), "");
    }

    #[test]
    fn a_page_that_is_not_there_is_begun() {
        let page = with_cluster("", "## The cluster");
        assert_eq!(
            page.trim_start(),
            format!("{BEGIN}\n## The cluster\n\n{END}")
        );
        assert_eq!(with_cluster(&page, "## The cluster"), page);
    }
}
