//! Text: words for people, cut to a bound without breaking a letter. Pure.
//!
//! `push` bounds what it takes by characters, `payload` what it sends by bytes of JSON.
//! Invariant: what was cut is a prefix that ends at the border of an extended grapheme cluster,
//! and [`ELLIPSIS`] after it; both together keep the bound.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;

/// Says that more followed.
pub const ELLIPSIS: &str = "\u{2026}";

/// Bytes of a text as JSON has it, between the quotes.
pub fn json_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

/// At most so many characters (Unicode scalar values); empty if not even one cluster fits.
pub fn cut_chars(text: &str, chars_max: usize) -> Cow<'_, str> {
    cut(text, chars_max, |part| part.chars().count())
}

/// At most so many bytes of JSON, between the quotes; empty if not even one cluster fits.
pub fn cut_json(text: &str, bytes_max: usize) -> Cow<'_, str> {
    cut(text, bytes_max, json_bytes)
}

fn cut(text: &str, size_max: usize, size: fn(&str) -> usize) -> Cow<'_, str> {
    if size(text) <= size_max {
        return Cow::Borrowed(text);
    }
    let mut room = size_max.saturating_sub(size(ELLIPSIS));
    let mut end = 0;
    for (at, cluster) in text.grapheme_indices(true) {
        let Some(left) = room.checked_sub(size(cluster)) else {
            break;
        };
        room = left;
        end = at + cluster.len();
    }
    match text.get(..end) {
        Some(kept) if end > 0 => Cow::Owned(format!("{kept}{ELLIPSIS}")),
        _ => Cow::Borrowed(""),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What breaks cutters: families, flags, combining marks, RTL, controls, escapes, jamo.
    pub const HARD: [&str; 14] = [
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}",
        "\u{1f44d}\u{1f3fd}",
        "\u{1f1e9}\u{1f1ea}",
        "e\u{301}\u{323}",
        "\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}",
        "\u{5e9}\u{5b8}\u{5dc}\u{5d5}\u{5b9}\u{5dd}",
        "\u{202e}\u{645}\u{631}\u{62d}\u{628}\u{627}\u{202c}",
        "\u{1100}\u{1161}\u{11a8}",
        "\u{1}\u{0}",
        "\r\n",
        "\"\\",
        "\u{200d}\u{301}",
        "\u{4e16}\u{754c}",
        "plain words ",
    ];

    /// Texts of such parts.
    pub fn hard_text(parts_max: usize) -> impl Strategy<Value = String> {
        let part = prop_oneof![
            prop::sample::select(HARD.to_vec()).prop_map(str::to_owned),
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(part, 0..=parts_max).prop_map(|parts| parts.concat())
    }

    /// Whether `cut` is the whole, or a prefix of it at the border of a cluster and an ellipsis.
    pub fn is_cut_of(cut: &str, whole: &str) -> bool {
        let prefix = || cut.strip_suffix(ELLIPSIS);
        let at_border = |prefix: &str| {
            let mut borders = whole.grapheme_indices(true).map(|(at, _)| at);
            whole.starts_with(prefix) && borders.any(|at| at == prefix.len() && at > 0)
        };
        cut == whole || prefix().is_some_and(at_border)
    }

    #[test]
    fn a_family_is_kept_whole_or_not_at_all() {
        let text = format!("ab{}c", HARD[0]);
        assert_eq!(cut_chars(&text, 9), "ab\u{2026}");
        assert_eq!(cut_chars(&text, 10), text);
        assert_eq!(cut_chars(HARD[0], 3), "");
    }

    proptest! {
        #[test]
        fn json_is_as_long_as_it_is_said_to_be(text in hard_text(20)) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(json_bytes(&text) + 2, json.len());
        }

        #[test]
        fn what_is_cut_fits_and_ends_at_a_border(text in hard_text(40), max in 0..300usize) {
            let (chars, bytes) = (cut_chars(&text, max), cut_json(&text, max));
            prop_assert!(chars.chars().count() <= max && json_bytes(&bytes) <= max);
            for cut in [chars, bytes] {
                prop_assert!(cut.is_empty() || is_cut_of(&cut, &text), "{cut:?} of {text:?}");
            }
        }

        #[test]
        fn nothing_is_cut_without_need(text in hard_text(20)) {
            prop_assert_eq!(cut_json(&text, json_bytes(&text)), text.as_str());
        }
    }
}
