//! Headers that are a list of fields and nothing else, which nearly all are.

/// Defines request headers: `Name<'a> = CODE { field: Type = "wireName" or default, … }`.
macro_rules! requests {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? = $code:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $wire:literal $(or $default:expr)?),* $(,)?
        }
    )*) => {$(
        header! {
            $(#[$doc])*
            $name $(<$life>)? { $($(#[$field_doc])* $field: $type = $wire $(or $default)?),* }
            RequestHeader { const CODE: $crate::code::RequestCode = $crate::code::RequestCode::$code; }
        }
    )*};
}

/// Defines response headers: `Name<'a> { field: Type = "wireName" or default, … }`.
macro_rules! responses {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $wire:literal $(or $default:expr)?),* $(,)?
        }
    )*) => {$(
        header! {
            $(#[$doc])*
            $name $(<$life>)? { $($(#[$field_doc])* $field: $type = $wire $(or $default)?),* }
            ResponseHeader {}
        }
    )*};
}

macro_rules! header {
    (
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $wire:literal $(or $default:expr)?),*
        }
        $trait:ident { $($constant:tt)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Default)]
        pub struct $name $(<$life>)? {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl<'a> $crate::header::$trait<'a> for $name $(<$life>)? {
            $($constant)*

            fn decode(fields: &$crate::fields::Fields<'a>) -> Result<Self, $crate::error::HeaderError> {
                Ok(Self { $($field: header!(@read fields, $wire $(, $default)?)?,)* })
            }

            fn encode(&self, out: &mut impl $crate::writer::FieldSink) {
                $($crate::header::HeaderField::write(&self.$field, $wire, out);)*
            }
        }
    };
    (@read $fields:ident, $wire:literal) => { $crate::header::HeaderField::read($wire, $fields.get($wire)) };
    (@read $fields:ident, $wire:literal, $default:expr) => {
        $crate::header::HeaderField::read_or($wire, $fields.get($wire), $default)
    };
}
