//! How `plimsoll consume` prints records.

use std::io::{self, Write};

use bytes::Bytes;
use plimsoll_client::ConsumedRecord;
use plimsoll_record_batch::TimestampType;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::format::{Format, Shown};
use crate::output::{Output, SCHEMA};

/// Prints records in one form.
#[derive(Debug)]
pub(crate) enum Printer {
    Format(Format),
    /// One document a line.
    Json,
    /// One document each, with a line between them.
    Yaml,
}

impl Printer {
    pub(crate) fn new(format: Option<Format>, output: Output) -> Result<Self, Failure> {
        Ok(match (format, output) {
            (Some(format), _) => Self::Format(format),
            (None, Output::Table) => Self::Format(Format::lines()),
            (None, Output::Wide) => Self::Format(Format::wide()),
            (None, Output::Json | Output::Jsonl) => Self::Json,
            (None, Output::Yaml) => Self::Yaml,
            (None, Output::Name) => {
                return Err(Failure::usage(
                    "records have no names; -f '%t/%p@%o\\n' is alike",
                ));
            }
        })
    }

    pub(crate) fn print(&self, out: &mut impl Write, record: &ConsumedRecord) -> io::Result<()> {
        match self {
            Self::Format(format) => format.write(out, &shown(record)),
            Self::Json => writeln!(out, "{}", document(record)),
            Self::Yaml => write!(out, "---\n{}", crate::yaml::yaml(&document(record))),
        }
    }
}

fn shown(record: &ConsumedRecord) -> Shown<'_> {
    Shown {
        topic: record.topic.as_str(),
        partition: record.partition,
        offset: record.offset.get(),
        timestamp_ms: record.timestamp.as_millis(),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
    }
}

fn document(record: &ConsumedRecord) -> Value {
    let mut document = Map::new();
    document.insert("schema".to_owned(), SCHEMA.into());
    document.insert("topic".to_owned(), record.topic.as_str().into());
    document.insert("partition".to_owned(), record.partition.into());
    document.insert("offset".to_owned(), record.offset.get().into());
    document.insert(
        "timestamp_ms".to_owned(),
        record.timestamp.as_millis().into(),
    );
    let kind = match record.timestamp_type {
        TimestampType::CreateTime => "create",
        TimestampType::LogAppendTime => "append",
    };
    document.insert("timestamp_type".to_owned(), kind.into());
    insert_bytes(&mut document, "key", record.key.as_ref());
    insert_bytes(&mut document, "value", record.value.as_ref());
    let headers = record.headers.iter().map(|(key, value)| {
        let mut header = Map::new();
        insert_bytes(&mut header, "key", Some(key));
        insert_bytes(&mut header, "value", value.as_ref());
        Value::Object(header)
    });
    document.insert("headers".to_owned(), headers.collect());
    Value::Object(document)
}

/// Text as it is; other bytes under `NAME_base64`, so that the two cannot be confused.
fn insert_bytes(document: &mut Map<String, Value>, name: &str, bytes: Option<&Bytes>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => document.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => document.insert(name.to_owned(), json!(text)),
        Some((bytes, Err(_))) => document.insert(format!("{name}_base64"), json!(base64(bytes))),
    };
}

/// The bytes in base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit <= group.len() {
                let index = (bits >> (18 - 6 * digit)) & 63;
                text.push(char::from(DIGITS[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_types::{Offset, Timestamp, TopicName};

    fn record() -> ConsumedRecord {
        ConsumedRecord {
            topic: TopicName::new("t").expect("legal"),
            partition: 2,
            offset: Offset::new(7),
            timestamp: Timestamp::from_millis(5),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: None,
            key: None,
            value: Some(Bytes::from_static(b"\xff\x00")),
            headers: vec![(Bytes::from_static(b"a"), Some(Bytes::from_static(b"1")))],
        }
    }

    fn printed(output: Output) -> String {
        let mut out = Vec::new();
        let printer = Printer::new(None, output).expect("a form");
        printer.print(&mut out, &record()).expect("memory");
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn json_tells_text_null_and_other_bytes_apart() {
        let document: Value = serde_json::from_str(&printed(Output::Json)).expect("JSON");
        assert_eq!(document["schema"], 1);
        assert_eq!(document["offset"], 7);
        assert_eq!(document["key"], Value::Null);
        assert_eq!(document["value_base64"], "/wA=");
        assert_eq!(document["headers"][0]["value"], "1");
    }

    #[test]
    fn base64_pads_to_groups_of_four() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }

    #[test]
    fn the_wide_form_tells_where_a_record_is() {
        assert!(printed(Output::Wide).starts_with("2/7 5 "));
    }
}
