//! How the peer protocol's values lie in a frame, and the two macros that state its messages.
//!
//! Integers are big-endian and of fixed size; a list, a string or an opaque payload has its length
//! before it as a `u32`; an option has a byte before it; an enumeration its number as a byte.
//!
//! What always holds: a type reads back what it wrote; a list takes memory only once its count has
//! been shown to fit the bytes that remain.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use plimsoll_types::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionKey, TopicId,
};

use crate::codec::{Malformed, Reason};

/// A cursor over one message.
pub(super) struct Scan {
    rest: Bytes,
    total: usize,
    field: &'static str,
}

impl Scan {
    pub(super) fn new(message: Bytes) -> Self {
        Self {
            total: message.len(),
            rest: message,
            field: "",
        }
    }

    /// Reads the field of this name.
    pub(super) fn field<T: Value>(&mut self, name: &'static str) -> Result<T, Malformed> {
        self.field = name;
        T::take(self)
    }

    pub(super) fn malformed(&self, reason: Reason) -> Malformed {
        Malformed {
            field: self.field,
            at: self.total - self.rest.len(),
            reason,
        }
    }

    fn short(&self, needs: usize) -> Malformed {
        let remain = self.rest.len();
        self.malformed(Reason::Short { needs, remain })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let Some(taken) = self.rest.first_chunk::<N>().copied() else {
            return Err(self.short(N));
        };
        self.rest.advance(N);
        Ok(taken)
    }

    /// The next `bytes` bytes, as a part of the frame.
    fn slice(&mut self, bytes: usize) -> Result<Bytes, Malformed> {
        if self.rest.len() < bytes {
            return Err(self.short(bytes));
        }
        Ok(self.rest.split_to(bytes))
    }

    /// # Errors
    /// Something is left.
    pub(super) fn finish(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(self.malformed(Reason::Trailing { bytes })),
        }
    }
}

/// A type of field.
pub(super) trait Value: Sized {
    /// The least bytes that one takes; never zero.
    const LEAST_BYTES: usize;
    fn put(&self, out: &mut BytesMut);
    fn take(input: &mut Scan) -> Result<Self, Malformed>;
}

macro_rules! integers {
    ($($type:ty),*) => { $(
        impl Value for $type {
            const LEAST_BYTES: usize = size_of::<Self>();

            fn put(&self, out: &mut BytesMut) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn take(input: &mut Scan) -> Result<Self, Malformed> {
                Ok(Self::from_be_bytes(input.array()?))
            }
        }
    )* };
}

integers!(u8, u16, u32, u64, i32, i64);

impl Value for bool {
    const LEAST_BYTES: usize = 1;

    fn put(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }

    fn take(input: &mut Scan) -> Result<Self, Malformed> {
        match u8::take(input)? {
            0 => Ok(false),
            1 => Ok(true),
            number => Err(input.malformed(Reason::Choice { number })),
        }
    }
}

/// Types with a signed wire form of their own, of which a part means nothing here.
macro_rules! signed {
    ($($type:ty: $wire:ty),*) => { $(
        impl Value for $type {
            const LEAST_BYTES: usize = size_of::<$wire>();

            fn put(&self, out: &mut BytesMut) {
                self.to_wire().put(out);
            }

            fn take(input: &mut Scan) -> Result<Self, Malformed> {
                let value = <$wire>::take(input)?;
                match Self::from_wire(value) {
                    Some(this) => Ok(this),
                    None => Err(input.malformed(Reason::OutOfRange { value: i64::from(value) })),
                }
            }
        }
    )* };
}

signed!(NodeId: i32, LeaderEpoch: i32, Offset: i64);

impl Value for BrokerEpoch {
    const LEAST_BYTES: usize = size_of::<u64>();

    fn put(&self, out: &mut BytesMut) {
        self.0.put(out);
    }

    fn take(input: &mut Scan) -> Result<Self, Malformed> {
        u64::take(input).map(Self)
    }
}

impl Value for PartitionEpoch {
    const LEAST_BYTES: usize = size_of::<u32>();

    fn put(&self, out: &mut BytesMut) {
        self.0.put(out);
    }

    fn take(input: &mut Scan) -> Result<Self, Malformed> {
        u32::take(input).map(Self)
    }
}

impl Value for PartitionKey {
    const LEAST_BYTES: usize = 20;

    fn put(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.topic.to_bytes());
        self.index.put(out);
    }

    fn take(input: &mut Scan) -> Result<Self, Malformed> {
        Ok(Self {
            topic: TopicId::from_bytes(input.array()?),
            index: u32::take(input)?,
        })
    }
}

/// A length as it is written. No message comes near 2^32: one past it would be a fault of ours,
/// and is written as the greatest there is, which the peer refuses.
fn put_length(length: usize, out: &mut BytesMut) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    debug_assert_ne!(length, u32::MAX, "a list or payload of 2^32");
    out.put_u32(length);
}

fn take_length(input: &mut Scan) -> Result<usize, Malformed> {
    u32::take(input).map(|length| usize::try_from(length).unwrap_or(usize::MAX))
}

impl Value for Bytes {
    const LEAST_BYTES: usize = 4;

    fn put(&self, out: &mut BytesMut) {
        put_length(self.len(), out);
        out.extend_from_slice(self);
    }

    fn take(input: &mut Scan) -> Result<Self, Malformed> {
        let length = take_length(input)?;
        input.slice(length)
    }
}

impl Value for String {
    const LEAST_BYTES: usize = 4;

    fn put(&self, out: &mut BytesMut) {
        put_length(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(input: &mut Scan) -> Result<Self, Malformed> {
        let bytes = <Bytes as Value>::take(input)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(input.malformed(Reason::NotUtf8)),
        }
    }
}

impl<T: Value> Value for Option<T> {
    const LEAST_BYTES: usize = 1;

    fn put(&self, out: &mut BytesMut) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut Scan) -> Result<Self, Malformed> {
        match bool::take(input)? {
            true => T::take(input).map(Some),
            false => Ok(None),
        }
    }
}

impl<T: Value> Value for Vec<T> {
    const LEAST_BYTES: usize = 4;

    fn put(&self, out: &mut BytesMut) {
        put_length(self.len(), out);
        for element in self {
            element.put(out);
        }
    }

    fn take(input: &mut Scan) -> Result<Self, Malformed> {
        let count = take_length(input)?;
        let remain = input.rest.len();
        if count > remain / T::LEAST_BYTES.max(1) {
            return Err(input.malformed(Reason::Count { count, remain }));
        }
        let field = input.field;
        let mut list = Self::with_capacity(count);
        for _ in 0..count {
            input.field = field;
            list.push(T::take(input)?);
        }
        Ok(list)
    }
}

/// States structs, field after field in the order of the wire.
macro_rules! structs {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident: $type:ty ),* $(,)?
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl $crate::peer::value::Value for $name {
            const LEAST_BYTES: usize =
                0 $( + <$type as $crate::peer::value::Value>::LEAST_BYTES )*;

            fn put(&self, out: &mut bytes::BytesMut) {
                $( $crate::peer::value::Value::put(&self.$field, out); )*
            }

            fn take(
                input: &mut $crate::peer::value::Scan,
            ) -> Result<Self, $crate::codec::Malformed> {
                Ok(Self { $( $field: input.field(stringify!($field))?, )* })
            }
        }
    )* };
}

/// States enumerations: a number as a byte, then what the variant holds.
macro_rules! choices {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident {
            $(
                $(#[$variant_meta:meta])*
                $number:literal => $variant:ident
                    $( ( $inner:ident: $inner_type:ty ) )?
                    $( { $( $(#[$field_meta:meta])* $field:ident: $type:ty ),* $(,)? } )?
            ),* $(,)?
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name { $(
            $(#[$variant_meta])*
            $variant $( ( $inner_type ) )? $( { $( $(#[$field_meta])* $field: $type, )* } )?,
        )* }

        impl $crate::peer::value::Value for $name {
            const LEAST_BYTES: usize = 1;

            fn put(&self, out: &mut bytes::BytesMut) {
                match self { $(
                    Self::$variant { $( 0: $inner )? $( $( $field, )* )? } => {
                        $crate::peer::value::Value::put(&{ const NUMBER: u8 = $number; NUMBER }, out);
                        $( $crate::peer::value::Value::put($inner, out); )?
                        $( $( $crate::peer::value::Value::put($field, out); )* )?
                    }
                )* }
            }

            fn take(
                input: &mut $crate::peer::value::Scan,
            ) -> Result<Self, $crate::codec::Malformed> {
                match <u8 as $crate::peer::value::Value>::take(input)? {
                    $(
                        $number => Ok(Self::$variant {
                            $( 0: input.field(stringify!($inner))? )?
                            $( $( $field: input.field(stringify!($field))?, )* )?
                        }),
                    )*
                    number => Err(input.malformed($crate::codec::Reason::Choice { number })),
                }
            }
        }
    )* };
}

pub(super) use {choices, structs};
