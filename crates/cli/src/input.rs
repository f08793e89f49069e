//! Records out of a stream of bytes: what `plimsoll produce` reads.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::failure::{Code, Failure};

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Records read ahead of the producer.
const AHEAD: usize = 1024;
/// The greatest record that is gathered; no broker takes a greater one.
const MAX_RECORD_BYTES: usize = 1 << 30;

/// Where records come from, and what ends one.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: Option<PathBuf>,
    /// The bytes that end a record; none if the whole input is one.
    pub(crate) delimiter: Option<Vec<u8>>,
}

impl Source {
    /// Reads the records on a thread of its own, since standard input cannot be awaited.
    pub(crate) fn records(self) -> Receiver<Result<Vec<u8>, Failure>> {
        let (sender, receiver) = channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = self.read(&sender) {
                let from = self
                    .file
                    .as_deref()
                    .map_or("standard input".into(), Path::to_string_lossy);
                let what = format!("cannot read {from}: {error}");
                // Nobody to tell means nobody to care.
                let _ = sender.blocking_send(Err(Failure::new(Code::File, what)));
            }
        });
        receiver
    }

    fn read(&self, sender: &Sender<Result<Vec<u8>, Failure>>) -> io::Result<()> {
        let mut input: Box<dyn Read> = match &self.file {
            Some(file) => Box::new(File::open(file)?),
            None => Box::new(io::stdin().lock()),
        };
        let mut records = Records::new(self.delimiter.clone());
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = match input.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                break;
            }
            records.feed(&chunk[..read])?;
            while let Some(record) = records.next_record() {
                if sender.blocking_send(Ok(record)).is_err() {
                    return Ok(());
                }
            }
        }
        if let Some(record) = records.rest() {
            let _ = sender.blocking_send(Ok(record));
        }
        Ok(())
    }
}

/// Cuts records out of chunks.
#[derive(Debug)]
struct Records {
    delimiter: Option<Vec<u8>>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were handed out.
    taken: usize,
    /// Bytes of the buffer in which no delimiter begins.
    searched: usize,
}

impl Records {
    fn new(delimiter: Option<Vec<u8>>) -> Self {
        Self {
            delimiter,
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
        }
    }

    fn feed(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.buffer.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        if self.buffer.len() + chunk.len() > MAX_RECORD_BYTES {
            return Err(io::Error::other("a record is greater than 1 GiB"));
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    fn next_record(&mut self) -> Option<Vec<u8>> {
        let delimiter = self.delimiter.as_deref()?;
        let (&first, _) = delimiter.split_first()?;
        while let Some(at) = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == first)
        {
            let at = self.searched + at;
            let rest = &self.buffer[at..];
            if rest.starts_with(delimiter) {
                let record = self.buffer[self.taken..at].to_vec();
                self.taken = at + delimiter.len();
                self.searched = self.taken;
                return Some(record);
            }
            if rest.len() < delimiter.len() && delimiter.starts_with(rest) {
                // It may go on in the next chunk.
                self.searched = at;
                return None;
            }
            self.searched = at + 1;
        }
        self.searched = self.buffer.len();
        None
    }

    /// What is left at the end of the input; a record without its delimiter, if anything.
    fn rest(mut self) -> Option<Vec<u8>> {
        self.buffer.drain(..self.taken);
        let whole = self.delimiter.is_none();
        (whole || !self.buffer.is_empty()).then_some(self.buffer)
    }
}

/// A record's key and value: the key is what is before the first `delimiter`.
pub(crate) fn split_key(record: Vec<u8>, delimiter: Option<&[u8]>) -> (Option<Vec<u8>>, Vec<u8>) {
    let Some(delimiter) = delimiter else {
        return (None, record);
    };
    let at = record
        .windows(delimiter.len())
        .position(|window| window == delimiter);
    match at {
        Some(at) => (
            Some(record[..at].to_vec()),
            record[at + delimiter.len()..].to_vec(),
        ),
        None => (None, record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(delimiter: Option<&[u8]>, chunks: &[&[u8]]) -> Vec<String> {
        let mut records = Records::new(delimiter.map(<[u8]>::to_vec));
        let mut cut = Vec::new();
        for chunk in chunks {
            records.feed(chunk).expect("small");
            while let Some(record) = records.next_record() {
                cut.push(record);
            }
        }
        cut.extend(records.rest());
        cut.into_iter()
            .map(|record| String::from_utf8(record).expect("text"))
            .collect()
    }

    #[test]
    fn records_do_not_depend_on_where_chunks_end() {
        let input = b"one--two-three----five";
        let whole = cut(Some(b"--"), &[input]);
        assert_eq!(whole, ["one", "two-three", "", "five"]);
        for at in 0..input.len() {
            let (head, tail) = input.split_at(at);
            assert_eq!(cut(Some(b"--"), &[head, tail]), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(cut(Some(b"--"), &bytes), whole);
    }

    #[test]
    fn the_last_delimiter_ends_a_record_and_begins_none() {
        assert_eq!(cut(Some(b"\n"), &[b"a\nb\n"]), ["a", "b"]);
        assert_eq!(cut(Some(b"\n"), &[b"a\n\n"]), ["a", ""]);
        assert!(cut(Some(b"\n"), &[]).is_empty());
    }

    #[test]
    fn without_a_delimiter_the_whole_is_one_record() {
        assert_eq!(cut(None, &[b"a\n", b"b\n"]), ["a\nb\n"]);
        assert_eq!(cut(None, &[]), [""]);
    }

    #[test]
    fn the_key_ends_at_the_first_delimiter() {
        let split = |record: &[u8]| split_key(record.to_vec(), Some(b":"));
        assert_eq!(split(b"k:v:w"), (Some(b"k".to_vec()), b"v:w".to_vec()));
        assert_eq!(split(b":v"), (Some(Vec::new()), b"v".to_vec()));
        assert_eq!(split(b"v"), (None, b"v".to_vec()));
    }
}
