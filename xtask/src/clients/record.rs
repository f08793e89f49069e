//! Records as drivers write and read them, and the contents every suite uses.

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// A header: its name and its value.
pub(crate) type Header = (String, Option<Hex>);

/// One record; bytes travel as hexadecimal text, so that none are lost on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) key: Option<Hex>,
    pub(crate) value: Option<Hex>,
    #[serde(default)]
    pub(crate) headers: Vec<Header>,
    /// Milliseconds; None lets the client choose.
    #[serde(default)]
    pub(crate) timestamp: Option<i64>,
    /// Set in records read.
    #[serde(default)]
    pub(crate) partition: Option<i32>,
    /// Set in records read.
    #[serde(default)]
    pub(crate) offset: Option<i64>,
}

impl Record {
    /// A record of a key and a value.
    pub(crate) fn new(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        Self {
            key: key.map(Hex::from),
            value: value.map(Hex::from),
            ..Self::default()
        }
    }

    fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(Hex::from)));
        self
    }

    /// The record at a time.
    pub(crate) fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Key, value and headers: what must come back byte for byte.
    pub(crate) fn contents(&self) -> (&Option<Hex>, &Option<Hex>, &[Header]) {
        (&self.key, &self.value, &self.headers)
    }
}

/// Bytes that serialize as hexadecimal text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl From<&[u8]> for Hex {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl std::fmt::Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.0[..self.0.len().min(24)];
        write!(
            f,
            "{:?}+{}",
            String::from_utf8_lossy(shown),
            self.0.len() - shown.len()
        )
    }
}

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(self.0.len() * 2);
        for byte in &self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|digit| {
                digit
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0);
        let digits = digits.ok_or_else(|| serde::de::Error::custom("not hexadecimal"))?;
        Ok(Self(
            digits
                .chunks_exact(2)
                .map(|pair| pair[0] << 4 | pair[1])
                .collect(),
        ))
    }
}

/// What a client may be unable to write or read; a driver's `hello` names what it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Feature {
    /// A header name that occurs twice in a record.
    DuplicateHeaders,
    /// The order of headers whose names interleave.
    HeaderOrder,
    /// A header without a value, apart from an empty one.
    NullHeaderValues,
    /// A header value that is no text.
    BinaryHeaders,
    /// A key or value that is absent, apart from an empty one.
    Nulls,
    /// A record that has neither key nor value.
    NoKeyNoValue,
    /// Timestamps chosen by the writer.
    Timestamps,
    /// Consumer groups.
    Groups,
    /// Admin calls.
    Admin,
    /// Idempotent producing.
    Idempotence,
    /// Admin calls about replicas: who has them, who leads, moving them.
    Replicas,
    /// Reading from a replica in the reader's own rack.
    Racks,
}

/// A record, and what a client must be able to represent to carry it.
pub(crate) struct Sample {
    pub(crate) what: &'static str,
    pub(crate) needs: &'static [Feature],
    pub(crate) record: Record,
}

/// The contents that go through every client: all shapes of key, value and headers, bytes of
/// every value, small and large, compressible and not. The same on every call.
pub(crate) fn samples() -> Vec<Sample> {
    use Feature::{
        BinaryHeaders, DuplicateHeaders, HeaderOrder, NoKeyNoValue, NullHeaderValues, Nulls,
    };
    let every_byte: Vec<u8> = (0..=255).collect();
    let noise = Random::new(2).bytes(60_000);
    let plain = || Record::new(Some(b"key"), Some(b"value"));
    let sample = |what, needs, record| Sample {
        what,
        needs,
        record,
    };
    let mut samples = vec![
        sample("plain", &[], plain()),
        sample(
            "utf-8",
            &[],
            Record::new(Some("schlüssel".as_bytes()), Some("価値".as_bytes())),
        ),
        sample("null key", &[Nulls], Record::new(None, Some(b"value"))),
        sample("null value", &[Nulls], Record::new(Some(b"key"), None)),
        sample("null both", &[Nulls, NoKeyNoValue], Record::new(None, None)),
        sample("empty both", &[Nulls], Record::new(Some(b""), Some(b""))),
        sample(
            "every byte",
            &[],
            Record::new(Some(&every_byte), Some(&every_byte)),
        ),
        sample("noise", &[], Record::new(Some(b"noise"), Some(&noise))),
        sample(
            "zeroes",
            &[],
            Record::new(Some(b"zeroes"), Some(&vec![0; 100_000])),
        ),
        sample("header", &[], plain().header("name", Some(b"text"))),
        sample(
            "two headers",
            &[],
            plain().header("a", Some(b"1")).header("b", Some(b"2")),
        ),
        sample(
            "utf-8 header",
            &[],
            plain().header("größe", Some("groß".as_bytes())),
        ),
        sample("empty header", &[], plain().header("empty", Some(b""))),
        sample(
            "null header",
            &[NullHeaderValues],
            plain().header("null", None),
        ),
        sample(
            "binary header",
            &[BinaryHeaders],
            plain().header("binary", Some(&every_byte)),
        ),
        sample(
            "duplicate headers",
            &[DuplicateHeaders],
            plain()
                .header("same", Some(b"1"))
                .header("same", Some(b"2")),
        ),
        sample(
            "interleaved headers",
            &[DuplicateHeaders, HeaderOrder],
            plain()
                .header("b", Some(b"1"))
                .header("a", Some(b"2"))
                .header("b", Some(b"3")),
        ),
    ];
    samples.extend((0..100u32).map(|n| {
        let (key, value) = (format!("key-{n}"), format!("value {n} ").repeat(20));
        sample(
            "many",
            &[],
            Record::new(Some(key.as_bytes()), Some(value.as_bytes())),
        )
    }));
    samples
}

#[cfg(test)]
mod tests {
    use super::{Hex, Record, samples};

    #[test]
    fn records_survive_the_trip_through_json() {
        for sample in samples() {
            let text = serde_json::to_string(&sample.record).unwrap();
            assert_eq!(
                serde_json::from_str::<Record>(&text).unwrap(),
                sample.record
            );
        }
    }

    #[test]
    fn text_that_is_not_hexadecimal_is_refused() {
        for text in ["\"abc\"", "\"zz\"", "\"é\""] {
            assert!(serde_json::from_str::<Hex>(text).is_err(), "{text}");
        }
    }
}
