//! The types that fields are made of.
//!
//! What always holds: a type reads back what it wrote, for equal version and flexibility.

use bytes::Bytes;
use plimsoll_types::TopicId;

use super::{Context, Input, Kind, Malformed, Output, Reason, Records, Str, StructSchema};

/// A type of field.
pub(crate) trait Value: Sized {
    /// The same, as data.
    const KIND: Kind;
    fn read(input: &mut Input<'_>, context: Context, nullable: bool) -> Result<Self, Malformed>;
    fn write(&self, out: &mut Output, context: Context, nullable: bool);
}

/// A type that null is known for: read and written as an option.
pub(crate) trait Nullable: Value + Default {
    fn read_option(input: &mut Input<'_>, context: Context) -> Result<Option<Self>, Malformed>;
    fn write_option(value: Option<&Self>, out: &mut Output, context: Context);
}

/// A struct of fields. Implemented by the `message!` macro alone; seen outside as
/// [`Message`](super::Message), which is why it is not nameable there.
pub trait Struct: Sized {
    /// The statement as data.
    const SCHEMA: StructSchema;
    #[doc(hidden)]
    fn read(input: &mut Input<'_>, context: Context) -> Result<Self, Malformed>;
    #[doc(hidden)]
    fn write(&self, out: &mut Output, context: Context);
}

/// What nullable fields without a stated default hold: Kafka's default for them is empty.
pub(crate) fn some<T: Default>() -> Option<T> {
    Some(T::default())
}

/// Whether a tagged field has to be written.
pub(crate) fn differs<T: PartialEq>(value: &T, default: &T) -> bool {
    value != default
}

impl<T: Struct> Value for T {
    const KIND: Kind = Kind::Struct(&T::SCHEMA);

    fn read(input: &mut Input<'_>, context: Context, _: bool) -> Result<Self, Malformed> {
        <T as Struct>::read(input, context)
    }

    fn write(&self, out: &mut Output, context: Context, _: bool) {
        <T as Struct>::write(self, out, context);
    }
}

/// A nullable struct has a byte before it: negative for null.
impl<T: Struct + Default> Nullable for T {
    fn read_option(input: &mut Input<'_>, context: Context) -> Result<Option<Self>, Malformed> {
        let [mark] = input.array()?;
        if mark.cast_signed() < 0 {
            return Ok(None);
        }
        <T as Struct>::read(input, context).map(Some)
    }

    fn write_option(value: Option<&Self>, out: &mut Output, context: Context) {
        match value {
            None => out.put(&[0xff]),
            Some(value) => {
                out.put(&[1]);
                <T as Struct>::write(value, out, context);
            }
        }
    }
}

impl<T: Nullable> Value for Option<T> {
    const KIND: Kind = Kind::Nullable(&T::KIND);

    fn read(input: &mut Input<'_>, context: Context, nullable: bool) -> Result<Self, Malformed> {
        if nullable {
            T::read_option(input, context)
        } else {
            T::read(input, context, false).map(Some)
        }
    }

    /// In a version without null, `None` is written as empty.
    fn write(&self, out: &mut Output, context: Context, nullable: bool) {
        match self {
            _ if nullable => T::write_option(self.as_ref(), out, context),
            Some(value) => value.write(out, context, false),
            None => T::default().write(out, context, false),
        }
    }
}

macro_rules! integer {
    ($($type:ty: $kind:ident),*) => { $(
        impl Value for $type {
            const KIND: Kind = Kind::$kind;

            fn read(input: &mut Input<'_>, _: Context, _: bool) -> Result<Self, Malformed> {
                Ok(Self::from_be_bytes(input.array()?))
            }

            fn write(&self, out: &mut Output, _: Context, _: bool) {
                out.put(&self.to_be_bytes());
            }
        }
    )* };
}

integer!(i8: Int8, i16: Int16, u16: Uint16, i32: Int32, i64: Int64);

impl Value for bool {
    const KIND: Kind = Kind::Bool;

    fn read(input: &mut Input<'_>, _: Context, _: bool) -> Result<Self, Malformed> {
        let [byte] = input.array()?;
        Ok(byte != 0)
    }

    fn write(&self, out: &mut Output, _: Context, _: bool) {
        out.put(&[u8::from(*self)]);
    }
}

impl Value for TopicId {
    const KIND: Kind = Kind::Uuid;

    fn read(input: &mut Input<'_>, _: Context, _: bool) -> Result<Self, Malformed> {
        Ok(Self::from_bytes(input.array()?))
    }

    fn write(&self, out: &mut Output, _: Context, _: bool) {
        out.put(&self.to_bytes());
    }
}

/// The types with a length before them: a null is a length, and a plain one refuses it.
macro_rules! measured {
    ($([$($generic:tt)*] $type:ty: $kind:expr, $read:ident($how:ident), |$value:ident, $out:ident, $context:ident| $write:expr;)*) => { $(
        impl<$($generic)*> Value for $type {
            const KIND: Kind = $kind;

            fn read(input: &mut Input<'_>, context: Context, _: bool) -> Result<Self, Malformed> {
                match Self::read_option(input, context)? {
                    Some(value) => Ok(value),
                    None => Err(input.malformed(Reason::Null)),
                }
            }

            fn write(&self, out: &mut Output, context: Context, _: bool) {
                Self::write_option(Some(self), out, context);
            }
        }

        impl<$($generic)*> Nullable for $type {
            fn read_option(
                input: &mut Input<'_>,
                context: Context,
            ) -> Result<Option<Self>, Malformed> {
                input.$read(measured!(@$how context))
            }

            fn write_option($value: Option<&Self>, $out: &mut Output, $context: Context) {
                $write
            }
        }
    )* };
    (@flexible $context:ident) => { $context.flexible };
    (@whole $context:ident) => { $context };
}

measured! {
    [] Str: Kind::Str, string(flexible), |value, out, context| {
        out.string(value.map(Str::as_str), context.flexible);
    };
    [] Bytes: Kind::Bytes, bytes(flexible), |value, out, context| {
        out.length(value.map(Bytes::len), context.flexible);
        out.put(value.map_or(&[], |value| value));
    };
    [] Records: Kind::Records, records(flexible), |value, out, context| {
        out.records(value, context.flexible);
    };
    [T: Value] Vec<T>: Kind::List(&T::KIND), list(whole), |value, out, context| {
        out.length(value.map(Vec::len), context.flexible);
        for element in value.into_iter().flatten() {
            element.write(out, context, false);
        }
    };
}
