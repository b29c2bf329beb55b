//! Bodies that are a list of fields, and enums that are names.

/// Defines structs whose JSON keys are their fields' names in camel case (or as `serde` attributes say), all of which
/// may be absent. Fields stand in the alphabetical order of their keys, as Apache's peers write them.
macro_rules! bodies {
    ($(
        $(#[$attr:meta])*
        $name:ident { $($(#[$field_attr:meta])* $field:ident: $type:ty),* $(,)? }
    )*) => {$(
        $(#[$attr])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$field_attr])* pub $field: $type,)* }
    )*};
}

/// Defines enums that are names on the wire. Reading ignores case; a name nobody knows reads as the default.
macro_rules! names {
    ($(
        $(#[$attr:meta])*
        $name:ident or $default:ident { $($(#[$variant_attr:meta])* $variant:ident = $text:literal),* $(,)? }
    )*) => {$(
        $(#[$attr])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_attr])* $variant,)* }

        impl $name {
            /// Its name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What that name means, in any case; `None` when nobody knows it.
            pub fn from_name(name: &str) -> Option<Self> {
                [$(Self::$variant),*].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                Ok(Self::from_name(&name).unwrap_or_default())
            }
        }
    )*};
}
