//! Declare: the macro that turns documented fields with defaults into a settings struct.
//!
//! Invariant: a struct, its defaults and its sample file come from one text, so they agree.

/// Declares a settings struct: documented fields with defaults, then, after the word `sections`,
/// documented fields whose types are settings structs themselves.
///
/// ```
/// heddle_kit::config! {
///     /// How to knit.
///     pub struct Knitting {
///         /// Stitches in a row.
///         pub stitches: u32 = 40,
///     }
/// }
/// heddle_kit::config! {
///     /// The whole workshop.
///     pub struct Workshop {
///         /// Its name; none means "nameless".
///         pub name: Option<String> = None,
///     sections
///         /// What the knitters do.
///         pub knitting: Knitting,
///     }
/// }
/// assert_eq!(Workshop::default().knitting.stitches, 40);
/// ```
#[macro_export]
macro_rules! config {
    (
        $(#[doc = $struct_doc:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                pub $field:ident : $type:ty = $default:expr,
            )*
            $(sections
                $(
                    $(#[doc = $section_doc:literal])*
                    pub $section:ident : $section_type:ty,
                )*
            )?
        }
    ) => {
        $(#[doc = $struct_doc])*
        #[derive(Clone, Debug)]
        #[derive($crate::config::serde::Serialize, $crate::config::serde::Deserialize)]
        #[serde(crate = "heddle_kit::config::serde", default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
            $($($(#[doc = $section_doc])* pub $section: $section_type,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    $($($section: <$section_type>::default(),)*)?
                }
            }
        }

        impl $crate::config::Config for $name {
            const FIELDS: &'static [$crate::config::Field] = &[
                $($crate::config::Field {
                    name: stringify!($field),
                    docs: &[$($doc),*],
                    section: None,
                },)*
                $($($crate::config::Field {
                    name: stringify!($section),
                    docs: &[$($section_doc),*],
                    section: Some(<$section_type as $crate::config::Config>::FIELDS),
                },)*)?
            ];
        }
    };
}
