//! The language in which messages are stated, once, and what follows from a statement.
//!
//! ```text
//! message! {
//!     /// What it is for.
//!     pub struct FetchRequest: 4..=17, flexible 12 {     versions; first flexible one, or `rigid`
//!         /// What it holds.
//!         max_wait_ms: i32,                               in every version, default 0
//!         session_epoch: i32 [7..] = -1,                  from version 7 on, default -1
//!         topics: Option<Vec<FetchTopic>> [null 1..],     may be null from version 1 on
//!         ...
//!     } tagged {
//!         /// What it holds.
//!         0 => cluster_id: Option<Str> [12..],            written with tag 0 if not its default
//!     }
//!     /// A struct within the message.
//!     pub struct FetchTopic { ... }
//! }
//! ```
//!
//! From it come the struct, `Default` with Kafka's values, reading and writing of every version,
//! and the schema as data. An `Option` may be null in every version that has it unless the rule
//! says since when.

/// A message and the structs within it; see the module's own words.
macro_rules! message {
    (
        $(#[$meta:meta])*
        pub struct $name:ident: $from:literal..=$to:literal, flexible $flexible:literal $($rest:tt)*
    ) => {
        $crate::codec::message!(@message $name, $from, $to, Some($flexible));
        $crate::codec::structs! { $(#[$meta])* pub struct $name $($rest)* }
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident: $from:literal..=$to:literal, rigid $($rest:tt)*
    ) => {
        $crate::codec::message!(@message $name, $from, $to, None);
        $crate::codec::structs! { $(#[$meta])* pub struct $name $($rest)* }
    };
    (@message $name:ident, $from:literal, $to:literal, $flexible:expr) => {
        impl $crate::codec::Message for $name {
            const VERSIONS: std::ops::RangeInclusive<i16> = $from..=$to;
            const FLEXIBLE_FROM: Option<i16> = $flexible;
        }
    };
}

/// Structs, without saying of which message.
macro_rules! structs {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $type:ty $([$($rule:tt)*])? $(= $default:expr)?
            ),* $(,)?
        } $(tagged {
            $(
                $(#[$tag_meta:meta])*
                $tag:literal => $tag_field:ident: $tag_type:ty
                    $([$($tag_rule:tt)*])? $(= $tag_default:expr)?
            ),* $(,)?
        })?
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
            $($( $(#[$tag_meta])* pub $tag_field: $tag_type, )*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: $crate::codec::default_of!($($default)?), )*
                    $($( $tag_field: $crate::codec::default_of!($($tag_default)?), )*)?
                }
            }
        }

        impl $crate::codec::Struct for $name {
            const SCHEMA: $crate::codec::StructSchema = $crate::codec::StructSchema {
                name: stringify!($name),
                fields: &[$( $crate::codec::Field {
                    name: stringify!($field),
                    kind: <$type as $crate::codec::Value>::KIND,
                    rule: $crate::codec::rule!($($($rule)*)?),
                }, )*],
                tagged: &[$($( ($tag, $crate::codec::Field {
                    name: stringify!($tag_field),
                    kind: <$tag_type as $crate::codec::Value>::KIND,
                    rule: $crate::codec::rule!($($($tag_rule)*)?),
                }), )*)?],
            };

            fn read(
                input: &mut $crate::codec::Input<'_>,
                context: $crate::codec::Context,
            ) -> Result<Self, $crate::codec::Malformed> {
                let mut this = Self::default();
                $({
                    const RULE: $crate::codec::Rule = $crate::codec::rule!($($($rule)*)?);
                    if RULE.covers(context.version) {
                        let nullable = RULE.nullable(context.version);
                        this.$field = input.field(stringify!($field), context, nullable)?;
                    }
                })*
                if context.flexible {
                    $crate::codec::structs!(@read_tags input, context, this, $($(
                        $tag => $tag_field [$($($tag_rule)*)?]
                    )*)?);
                }
                Ok(this)
            }

            fn write(
                &self,
                out: &mut $crate::codec::Output,
                context: $crate::codec::Context,
            ) {
                $({
                    const RULE: $crate::codec::Rule = $crate::codec::rule!($($($rule)*)?);
                    if RULE.covers(context.version) {
                        let nullable = RULE.nullable(context.version);
                        $crate::codec::Value::write(&self.$field, out, context, nullable);
                    }
                })*
                if context.flexible {
                    $($(
                        let $tag_field = {
                            const RULE: $crate::codec::Rule =
                                $crate::codec::rule!($($($tag_rule)*)?);
                            let default: $tag_type =
                                $crate::codec::default_of!($($tag_default)?);
                            RULE.covers(context.version)
                                && $crate::codec::differs(&self.$tag_field, &default)
                        };
                    )*)?
                    out.tag_count(&[$($( $tag_field, )*)?]);
                    $($(
                        if $tag_field {
                            const RULE: $crate::codec::Rule =
                                $crate::codec::rule!($($($tag_rule)*)?);
                            let nullable = RULE.nullable(context.version);
                            out.tagged($tag, |out| $crate::codec::Value::write(
                                &self.$tag_field, out, context, nullable,
                            ));
                        }
                    )*)?
                }
            }
        }
    )* };
    (@read_tags $input:ident, $context:ident, $this:ident, ) => {
        $input.skip_tags()?;
    };
    (@read_tags $input:ident, $context:ident, $this:ident, $(
        $tag:literal => $field:ident [$($rule:tt)*]
    )+) => {
        $input.at_field("tagged_fields");
        for _ in 0..$input.uvarint()? {
            let (tag, size) = $input.tag()?;
            match tag {
                $($tag if const { $crate::codec::rule!($($rule)*) }.covers($context.version) => {
                    let nullable =
                        const { $crate::codec::rule!($($rule)*) }.nullable($context.version);
                    $this.$field = $input.tagged(size, stringify!($field), $context, nullable)?;
                })+
                _ => {
                    $input.take(size)?;
                }
            }
        }
    };
}

/// The rule of a field, from what stands in its brackets.
macro_rules! rule {
    () => { $crate::codec::rule!(@ 0, i16::MAX, 0) };
    ($since:literal ..) => { $crate::codec::rule!(@ $since, i16::MAX, 0) };
    (..= $until:literal) => { $crate::codec::rule!(@ 0, $until, 0) };
    ($since:literal ..= $until:literal) => { $crate::codec::rule!(@ $since, $until, 0) };
    (null $null:literal ..) => { $crate::codec::rule!(@ 0, i16::MAX, $null) };
    ($since:literal .., null $null:literal ..) => {
        $crate::codec::rule!(@ $since, i16::MAX, $null)
    };
    (..= $until:literal, null $null:literal ..) => {
        $crate::codec::rule!(@ 0, $until, $null)
    };
    (@ $since:expr, $until:expr, $null:expr) => {
        $crate::codec::Rule { since: $since, until: $until, null_since: $null }
    };
}

/// The default of a field: the one stated, or its type's own.
macro_rules! default_of {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

pub(crate) use {default_of, message, rule, structs};
