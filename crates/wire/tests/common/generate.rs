//! The bytes of a message, made from its statement as data.
//!
//! A second writer beside the crate's own: it knows the statement and the protocol's primitives,
//! and nothing of the code that the statement yields.

use plimsoll_wire::{Field, Kind, StructSchema};

/// Choices for the generator, taken from bytes so that proptest can shrink them.
pub(crate) struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next byte; zero once all are used up, so that messages come to an end.
    fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }
}

/// Writes one message.
pub(crate) struct Generator<'a> {
    pub(crate) choices: Choices<'a>,
    pub(crate) version: i16,
    pub(crate) flexible: bool,
    /// Within a tagged field: values differ from defaults, since defaults are not written.
    forced: bool,
    out: Vec<u8>,
}

/// The body of the message `schema` in `version`, as `choices` have it.
pub(crate) fn message(
    schema: &StructSchema,
    version: i16,
    flexible: bool,
    choices: &[u8],
) -> Vec<u8> {
    let choices = Choices::new(choices);
    let mut generator = Generator {
        choices,
        version,
        flexible,
        forced: false,
        out: Vec::new(),
    };
    generator.fields(schema);
    generator.out
}

impl Generator<'_> {
    fn fields(&mut self, schema: &StructSchema) {
        let version = self.version;
        for field in schema
            .fields
            .iter()
            .filter(|field| field.rule.covers(version))
        {
            self.field(field);
        }
        if !self.flexible {
            return;
        }
        let known = schema
            .tagged
            .iter()
            .filter(|(_, field)| field.rule.covers(version));
        let present: Vec<_> = known.filter(|_| self.choices.byte() % 2 == 1).collect();
        self.uvarint(present.len());
        for (tag, field) in present {
            let before = std::mem::take(&mut self.out);
            let outer = std::mem::replace(&mut self.forced, true);
            self.field(field);
            self.forced = outer;
            let value = std::mem::replace(&mut self.out, before);
            self.uvarint(*tag as usize);
            self.uvarint(value.len());
            self.out.extend_from_slice(&value);
        }
    }

    fn field(&mut self, field: &Field) {
        self.value(&field.kind, field.rule.nullable(self.version));
    }

    fn value(&mut self, kind: &Kind, nullable: bool) {
        match kind {
            Kind::Nullable(inner) => {
                let null = nullable && !self.forced && self.choices.byte() % 4 == 1;
                match (**inner, null) {
                    (Kind::Struct(_), true) => self.out.push(0xff),
                    (Kind::Struct(schema), false) => {
                        if nullable {
                            self.out.push(1);
                        }
                        self.fields(schema);
                    }
                    (_, true) => self.null(inner),
                    (_, false) => self.value(inner, false),
                }
            }
            Kind::Bool => {
                let value = u8::from(self.forced || self.choices.byte() % 2 == 1);
                self.out.push(value);
            }
            Kind::Int8 => self.integer::<1>(),
            Kind::Int16 | Kind::Uint16 => self.integer::<2>(),
            Kind::Int32 => self.integer::<4>(),
            Kind::Int64 => self.integer::<8>(),
            Kind::Uuid => {
                let id: [u8; 16] = std::array::from_fn(|_| self.choices.byte());
                self.out.extend_from_slice(&id);
                if self.forced {
                    *self.out.last_mut().expect("just written") |= 1;
                }
            }
            Kind::Str => {
                let letters = ["", "a", "Z9", "é", "-topic-", "𝄞"];
                let mut text = String::from(if self.forced { "x" } else { "" });
                for _ in 0..self.choices.byte() % 4 {
                    text.push_str(letters[usize::from(self.choices.byte()) % letters.len()]);
                }
                self.length(text.len(), true);
                self.out.extend_from_slice(text.as_bytes());
            }
            Kind::Bytes | Kind::Records => {
                let bytes: Vec<u8> = (0..self.choices.byte() % 8)
                    .map(|_| self.choices.byte())
                    .collect();
                self.length(bytes.len(), false);
                self.out.extend_from_slice(&bytes);
            }
            Kind::List(element) => {
                let count = usize::from(self.choices.byte() % 4).max(usize::from(self.forced));
                self.length(count, false);
                for _ in 0..count {
                    self.value(element, false);
                }
            }
            Kind::Struct(schema) => self.fields(schema),
        }
    }

    fn null(&mut self, kind: &Kind) {
        match kind {
            _ if self.flexible => self.out.push(0),
            Kind::Str => self.out.extend_from_slice(&[0xff; 2]),
            _ => self.out.extend_from_slice(&[0xff; 4]),
        }
    }

    /// Small numbers of either sign, the extremes, and anything.
    fn integer<const N: usize>(&mut self) {
        let mut bytes = [0; N];
        match self.choices.byte() % 6 {
            0 => {}
            1 => bytes = [0xff; N],
            2 => bytes[0] = 0x80,
            3 => {
                bytes = [0xff; N];
                bytes[0] = 0x7f;
            }
            4 => bytes[N - 1] = self.choices.byte() % 16,
            _ => bytes = std::array::from_fn(|_| self.choices.byte()),
        }
        // Zero and -1 are defaults; 35 before an ApiVersions response means another version.
        if self.forced && (bytes == [0; N] || bytes == [0xff; N]) || bytes == error_35() {
            bytes = [7; N];
        }
        self.out.extend_from_slice(&bytes);
    }

    fn length(&mut self, length: usize, is_string: bool) {
        if self.flexible {
            self.uvarint(length + 1);
        } else if is_string {
            self.out
                .extend_from_slice(&i16::try_from(length).expect("short").to_be_bytes());
        } else {
            self.out
                .extend_from_slice(&i32::try_from(length).expect("short").to_be_bytes());
        }
    }

    fn uvarint(&mut self, mut value: usize) {
        while value > 0x7f {
            self.out
                .push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
            value >>= 7;
        }
        self.out.push(u8::try_from(value).expect("seven bits"));
    }
}

fn error_35<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    bytes[N - 1] = 35;
    bytes
}
