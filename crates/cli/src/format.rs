//! How `plimsoll consume -f` prints a record: kcat's placeholders and escapes.

use std::io::Write;

use bytes::Bytes;

/// A record as it is printed.
#[derive(Clone, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(Bytes, Option<Bytes>)],
}

/// A format that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyBytes,
    Value,
    ValueBytes,
    Headers,
}

impl Format {
    /// The value of each record on a line.
    pub(crate) fn lines() -> Self {
        Self(vec![Piece::Value, Piece::Bytes(b"\n".to_vec())])
    }

    /// Where each record is, its key and its value, on a line.
    pub(crate) fn wide() -> Self {
        Self::parse("%p/%o %T %k %s\\n").expect("a format of our own")
    }

    /// Reads a format.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut parts = text.split('%');
        let mut literal = unescape(parts.next().unwrap_or_default())?;
        while let Some(part) = parts.next() {
            let mut rest = part.chars();
            let piece = match rest.next() {
                Some('t') => Piece::Topic,
                Some('p') => Piece::Partition,
                Some('o') => Piece::Offset,
                Some('T') => Piece::Timestamp,
                Some('k') => Piece::Key,
                Some('K') => Piece::KeyBytes,
                Some('s' | 'v') => Piece::Value,
                Some('S' | 'V') => Piece::ValueBytes,
                Some('h') => Piece::Headers,
                Some(other) => return Err(format!("%{other} stands for nothing")),
                // Two percent signs in a row: one of them is meant.
                None => match parts.next() {
                    Some(after) => {
                        literal.push(b'%');
                        literal.extend(unescape(after)?);
                        continue;
                    }
                    None => return Err("ends in a lone %".to_owned()),
                },
            };
            push_bytes(&mut pieces, std::mem::take(&mut literal));
            pieces.push(piece);
            literal = unescape(rest.as_str())?;
        }
        push_bytes(&mut pieces, literal);
        Ok(Self(pieces))
    }

    /// Prints a record. What is null prints as nothing, and its length as -1.
    pub(crate) fn write(&self, out: &mut impl Write, record: &Shown<'_>) -> std::io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Bytes(bytes) => out.write_all(bytes)?,
                Piece::Topic => out.write_all(record.topic.as_bytes())?,
                Piece::Partition => write!(out, "{}", record.partition)?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Timestamp => write!(out, "{}", record.timestamp_ms)?,
                Piece::Key => out.write_all(record.key.unwrap_or_default())?,
                Piece::KeyBytes => write_length(out, record.key)?,
                Piece::Value => out.write_all(record.value.unwrap_or_default())?,
                Piece::ValueBytes => write_length(out, record.value)?,
                Piece::Headers => write_headers(out, record.headers)?,
            }
        }
        Ok(())
    }
}

fn push_bytes(pieces: &mut Vec<Piece>, bytes: Vec<u8>) {
    if !bytes.is_empty() {
        pieces.push(Piece::Bytes(bytes));
    }
}

fn write_length(out: &mut impl Write, bytes: Option<&[u8]>) -> std::io::Result<()> {
    match bytes {
        Some(bytes) => write!(out, "{}", bytes.len()),
        None => out.write_all(b"-1"),
    }
}

fn write_headers(out: &mut impl Write, headers: &[(Bytes, Option<Bytes>)]) -> std::io::Result<()> {
    for (at, (key, value)) in headers.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        out.write_all(key)?;
        out.write_all(b"=")?;
        out.write_all(value.as_deref().unwrap_or(b"NULL"))?;
    }
    Ok(())
}

/// `text` with `\n`, `\t`, `\r`, `\0`, `\\` and `\xHH` replaced.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let mut chars = after.chars();
        let escaped = match chars.next() {
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('r') => b'\r',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits = after.get(1..3).unwrap_or_default();
                chars = after.get(3..).unwrap_or_default().chars();
                u8::from_str_radix(digits, 16).map_err(|_| "has \\x without two digits")?
            }
            Some(other) => return Err(format!("\\{other} stands for nothing")),
            None => return Err("ends in a lone \\".to_owned()),
        };
        bytes.push(escaped);
        rest = chars.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> String {
        let headers = [
            (Bytes::from_static(b"a"), Some(Bytes::from_static(b"1"))),
            (Bytes::from_static(b"b"), None),
        ];
        let record = Shown {
            topic: "orders",
            partition: 3,
            offset: 42,
            timestamp_ms: 1000,
            key,
            value,
            headers: &headers,
        };
        let mut out = Vec::new();
        Format::parse(format)
            .expect("legal")
            .write(&mut out, &record)
            .expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_placeholder_prints_its_part() {
        let all = printed(
            "%t/%p@%o %T %k(%K)=%s(%S) %h%%\\n",
            Some(b"key"),
            Some(b"value"),
        );
        assert_eq!(all, "orders/3@42 1000 key(3)=value(5) a=1,b=NULL%\n");
    }

    #[test]
    fn null_prints_as_nothing_of_length_minus_one() {
        assert_eq!(printed("[%k %K][%v %V]", None, Some(b"")), "[ -1][ 0]");
    }

    #[test]
    fn percent_signs_may_stand_anywhere() {
        assert_eq!(printed("%%%o%%", None, None), "%42%");
        assert_eq!(printed("100%%", None, None), "100%");
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        for format in ["%", "%q", "x%", "\\", "\\q", "\\x1", "\\xzz", "a\\xé"] {
            assert!(Format::parse(format).is_err(), "{format}");
        }
    }

    #[test]
    fn escapes_become_bytes() {
        assert_eq!(unescape("a\\tb\\x00\\\\n"), Ok(b"a\tb\0\\n".to_vec()));
    }
}
