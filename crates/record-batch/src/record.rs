//! The records inside a batch, read one after another in place.
//!
//! Nothing is allocated for a record and no count from the wire is allocated for. Header keys are
//! bytes: duplicates, and keys that are not UTF-8, come out as they went in.

use std::borrow::Cow;
use std::iter::FusedIterator;

use plimsoll_types::{Offset, Timestamp};

use crate::varint::Fields;
use crate::{BatchError, BatchHeader, RecordProblem};

/// One record, borrowed from its batch's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its own timestamp, or the batch's append time.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; without one it is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: Headers<'a>,
}

/// The headers of one record: an iterator of key and value, cheap to copy and start again.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    fields: Fields<'a>,
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // Walked once when the record was read, so neither step fails here.
        let bytes = self.fields.length("a header's key length").ok()?;
        let key = self.fields.take(bytes).ok()?;
        Some((key, self.fields.nullable().ok()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}
impl FusedIterator for Headers<'_> {}

/// A batch's records, decompressed if they were compressed.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    payload: Cow<'a, [u8]>,
}

impl<'a> Records<'a> {
    pub(crate) fn new(header: BatchHeader, payload: Cow<'a, [u8]>) -> Self {
        Self { header, payload }
    }

    /// Reads them from the first, each checked as it comes.
    #[must_use]
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter::new(&self.header, &self.payload)
    }

    /// The bytes of the records: a slice of the batch, or what came out of the codec. With
    /// [`RecordIter::new`] they are read without this struct, from wherever they are kept.
    #[must_use]
    pub fn into_payload(self) -> Cow<'a, [u8]> {
        self.payload
    }
}

impl<'r> IntoIterator for &'r Records<'_> {
    type Item = Result<Record<'r>, BatchError>;
    type IntoIter = RecordIter<'r>;

    fn into_iter(self) -> RecordIter<'r> {
        self.iter()
    }
}

/// Yields records in offset order; after an error, nothing more.
///
/// Gaps between offsets are accepted, as compaction leaves them; going back or past the batch's
/// last offset is not. Bytes after the last record are an error.
#[derive(Clone, Debug)]
pub struct RecordIter<'p> {
    fields: Fields<'p>,
    base: Offset,
    base_timestamp: Timestamp,
    append_time: Option<Timestamp>,
    last_offset_delta: u32,
    records: u32,
    /// Records read; the count once ended.
    index: u32,
    /// The least offset delta that the next record may have.
    next_delta: u32,
    ended: bool,
}

impl<'p> RecordIter<'p> {
    /// Reads `payload`, the decompressed records of the batch that `header` heads.
    #[must_use]
    pub fn new(header: &BatchHeader, payload: &'p [u8]) -> Self {
        Self {
            fields: Fields::new(payload),
            base: header.base,
            base_timestamp: header.base_timestamp,
            append_time: header.append_time(),
            last_offset_delta: header.last_offset_delta,
            records: header.records,
            index: 0,
            next_delta: 0,
            ended: false,
        }
    }

    fn read(&mut self) -> Result<Record<'p>, RecordProblem> {
        let declared = self.fields.length("its length")?;
        let mut fields = Fields::new(self.fields.take(declared)?);
        fields.take(1)?; // the record's own attributes: none are defined
        let timestamp_delta = fields.varlong()?;
        let offset_delta = fields.varint()?;
        let key = fields.nullable()?;
        let value = fields.nullable()?;
        let headers = read_headers(&mut fields)?;
        if fields.remaining() > 0 {
            let used = declared - fields.remaining();
            return Err(RecordProblem::Length { declared, used });
        }
        let own = self.base_timestamp.as_millis();
        let own = own.checked_add(timestamp_delta);
        let own = own.ok_or(RecordProblem::Timestamp)?;
        Ok(Record {
            offset: self.base + u64::from(self.follow(offset_delta)?),
            timestamp: self.append_time.unwrap_or(Timestamp::from_millis(own)),
            key,
            value,
            headers,
        })
    }

    /// The delta, if it comes after the last one and lies within the batch.
    fn follow(&mut self, got: i32) -> Result<u32, RecordProblem> {
        let delta = u32::try_from(got).ok();
        let delta =
            delta.filter(|delta| (self.next_delta..=self.last_offset_delta).contains(delta));
        let delta = delta.ok_or(RecordProblem::OffsetDelta {
            got,
            expected: self.next_delta,
            sparse: true,
        })?;
        self.next_delta = delta + 1;
        Ok(delta)
    }
}

impl<'p> Iterator for RecordIter<'p> {
    type Item = Result<Record<'p>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.index == self.records {
            self.ended = true;
            let bytes = self.fields.remaining();
            let records = self.records;
            return (bytes > 0).then_some(Err(BatchError::Trailing { records, bytes }));
        }
        let index = self.index;
        let read = self.read();
        self.index += 1;
        self.ended = read.is_err();
        Some(read.map_err(|problem| BatchError::Record { index, problem }))
    }
}

impl FusedIterator for RecordIter<'_> {}

/// Walks the headers so that iterating them later cannot fail.
fn read_headers<'p>(fields: &mut Fields<'p>) -> Result<Headers<'p>, RecordProblem> {
    let left = fields.length("its count of headers")?;
    let headers = Headers {
        fields: *fields,
        left,
    };
    for _ in 0..left {
        let bytes = fields.length("a header's key length")?;
        fields.take(bytes)?;
        fields.nullable()?;
    }
    Ok(headers)
}
