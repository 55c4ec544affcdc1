//! The field tables: one declaration per view, from which everything else is made.
//!
//! [`table!`](macro@table) declares a view once. It yields the `repr(C)` struct and a [`Table`]:
//! names, types, units and documentation of its fields in order of layout. The scripting bindings,
//! the editor stubs, the C header and the reference page are all made of it.

/// Type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    I64,
    /// Floating point, 64 bits.
    F64,
}

/// A field of a view. `G` is the type of a function that takes the view and gives the field as a
/// number.
#[derive(Clone, Copy, Debug)]
pub struct Field<G: 'static> {
    /// Its name, the same in every language.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its unit; empty for plain numbers and identities.
    pub unit: &'static str,
    /// What it says, lines as written.
    pub doc: &'static [&'static str],
    /// Bytes from the start of the view.
    pub offset: usize,
    /// Its value as a number.
    pub get: G,
}

/// A view with a field table.
pub trait Table {
    /// Gives a field of the view as a number.
    type Get: Copy + 'static;
    /// Name of the view.
    const NAME: &'static str;
    /// What it is, lines as written.
    const DOC: &'static [&'static str];
    /// Its fields in order of layout.
    const FIELDS: &'static [Field<Self::Get>];
}

/// [`Kind`] of a type's name.
macro_rules! kind {
    (u32) => {
        $crate::Kind::U32
    };
    (i32) => {
        $crate::Kind::I32
    };
    (u64) => {
        $crate::Kind::U64
    };
    (i64) => {
        $crate::Kind::I64
    };
    (f64) => {
        $crate::Kind::F64
    };
}

/// Declares a view; see the module.
macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $( $(#[doc = $field_doc:literal])* $field:ident : $type:tt, $unit:literal; )*
        }
    ) => {
        $(#[doc = $doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, abi_stable::StableAbi)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $type, )*
        }

        impl $crate::Table for $name {
            type Get = fn(&Self) -> f64;
            const NAME: &'static str = stringify!($name);
            const DOC: &'static [&'static str] = &[$($doc),*];
            table!(@fields $name { $( $(#[doc = $field_doc])* $field: $type, $unit; )* });
        }
    };
    // A view of a request in some state: it refers to the request's own view.
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident<'a> {
            request: &'a RequestView;
            $( $(#[doc = $field_doc:literal])* $field:ident : $type:tt, $unit:literal; )*
        }
    ) => {
        $(#[doc = $doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, abi_stable::StableAbi)]
        pub struct $name<'a> {
            /// The request.
            pub request: &'a RequestView,
            $( $(#[doc = $field_doc])* pub $field: $type, )*
        }

        impl<'a> $name<'a> {
            /// The view of `request` with everything else 0.
            #[must_use]
            pub fn of(request: &'a RequestView) -> Self {
                Self { request, $( $field: Default::default(), )* }
            }
        }

        impl $crate::Table for $name<'_> {
            type Get = for<'v, 'r> fn(&'v $name<'r>) -> f64;
            const NAME: &'static str = stringify!($name);
            const DOC: &'static [&'static str] = &[$($doc),*];
            table!(@fields $name { $( $(#[doc = $field_doc])* $field: $type, $unit; )* });
        }
    };
    (@fields $name:ident { $( $(#[doc = $field_doc:literal])* $field:ident : $type:tt, $unit:literal; )* }) => {
        const FIELDS: &'static [$crate::Field<Self::Get>] = &[
            $( $crate::Field {
                name: stringify!($field),
                kind: kind!($type),
                unit: $unit,
                doc: &[$($field_doc),*],
                offset: std::mem::offset_of!(Self, $field),
                #[allow(clippy::unnecessary_cast, reason = "one expression for all types")]
                get: |view| view.$field as f64,
            }, )*
        ];
    };
}

pub(crate) use {kind, table};
