//! A whole batch in place: lengths, magic and checksum verified, nothing copied.
//!
//! Not here: what a batch means to a log or a producer. A [`Batch`] never outlives or changes the
//! bytes it was parsed from.

use std::borrow::Cow;
use std::iter::FusedIterator;

use plimsoll_types::Timestamp;

use crate::header::{self, CHECKED_AT, PREFIX_BYTES};
use crate::record::{Record, RecordIter, Records};
use crate::{BatchError, BatchHeader, Compression, HEADER_BYTES, RecordProblem, crc32c};

/// Bounds on what decoding the records of one batch may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// The records' bytes, decompressed.
    pub max_decompressed_bytes: usize,
    /// Records in the batch.
    pub max_records: u32,
}

/// Whether a record must have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It may do without.
    Optional,
    /// It needs one: the topic is compacted.
    Required,
}

/// What a strict check saw in the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The least timestamp of any record.
    pub min_timestamp: Timestamp,
    /// The greatest. Some clients write another into the header, which Kafka puts right
    /// ([`crate::stamp_max_timestamp`]) rather than refuses.
    pub max_timestamp: Timestamp,
}

/// One batch whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The first batch in `bytes`, which may go on after it.
    ///
    /// # Errors
    /// Whatever of its header, length or checksum is wrong. The records are not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let batch = Self::parse_without_checksum(bytes)?;
        let header = batch.header;
        let computed = crc32c(batch.bytes.get(CHECKED_AT..).unwrap_or_default());
        if computed != header.crc {
            return Err(BatchError::Checksum {
                base: header.base,
                stored: header.crc,
                computed,
            });
        }
        Ok(batch)
    }

    /// The first batch in `bytes`, trusting that its checksum was taken before: for a log that
    /// reads what it verified at the append.
    ///
    /// # Errors
    /// Whatever of its header or length is wrong.
    pub fn parse_without_checksum(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::decode(bytes)?;
        let needed = header.batch_bytes as usize;
        let got = bytes.len();
        let bytes = bytes
            .get(..needed)
            .ok_or(BatchError::Truncated { needed, got })?;
        Ok(Self { header, bytes })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Its bytes, header included.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its records as they are stored, perhaps compressed.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// Its records, decompressed at once where they are compressed, read one by one.
    ///
    /// # Errors
    /// When a limit is passed, or the codec refuses the bytes.
    pub fn records(&self, limits: &DecodeLimits) -> Result<Records<'a>, BatchError> {
        let (records, max) = (self.header.records, limits.max_records);
        if records > max {
            return Err(BatchError::TooManyRecords { records, max });
        }
        let compression = self.header.attributes.compression();
        let max = limits.max_decompressed_bytes;
        let payload = match compression {
            Compression::None if self.payload().len() > max => {
                return Err(BatchError::TooLarge { compression, max });
            }
            Compression::None => Cow::Borrowed(self.payload()),
            // An emptied batch holds no frame of its codec.
            _ if self.payload().is_empty() => Cow::Borrowed(self.payload()),
            _ => Cow::Owned(compression.decompress(self.payload(), max)?),
        };
        Ok(Records::new(self.header, payload))
    }

    /// Everything a broker asks of a batch from a producer, beyond [`Batch::parse`]: at least one
    /// record; offset deltas 0, 1, 2 up to the last; every length true and every byte accounted
    /// for; keys where they are required; a producer's epoch and sequence not negative.
    ///
    /// Left to the caller: the control bit, what timestamps are allowed (see [`Checked`]), and
    /// what the sequence should be.
    ///
    /// # Errors
    /// The first rule broken, and by which record.
    pub fn check_records(&self, limits: &DecodeLimits, keys: Keys) -> Result<Checked, BatchError> {
        self.check_header()?;
        let records = self.records(limits)?;
        let mut checked = Checked {
            min_timestamp: Timestamp::from_millis(i64::MAX),
            max_timestamp: Timestamp::from_millis(i64::MIN),
        };
        for (record, index) in records.iter().zip(0u32..) {
            let record = record?;
            self.check_record(index, &record, keys)
                .map_err(|problem| BatchError::Record { index, problem })?;
            checked.min_timestamp = checked.min_timestamp.min(record.timestamp);
            checked.max_timestamp = checked.max_timestamp.max(record.timestamp);
        }
        Ok(checked)
    }

    /// The strict rules that one record can break.
    fn check_record(
        &self,
        index: u32,
        record: &Record<'_>,
        keys: Keys,
    ) -> Result<(), RecordProblem> {
        let got = record.offset.since(self.header.base);
        if got != u64::from(index) {
            return Err(RecordProblem::OffsetDelta {
                got: i32::try_from(got).unwrap_or(i32::MAX),
                expected: index,
                sparse: false,
            });
        }
        match keys {
            Keys::Required if record.key.is_none() => Err(RecordProblem::NoKey),
            Keys::Required | Keys::Optional => Ok(()),
        }
    }

    /// The strict rules that the header alone can break.
    fn check_header(&self) -> Result<(), BatchError> {
        let header = &self.header;
        if header.records == 0 {
            return Err(BatchError::Empty);
        }
        if u64::from(header.records) != u64::from(header.last_offset_delta) + 1 {
            return Err(BatchError::Sparse {
                records: header.records,
                delta: header.last_offset_delta,
            });
        }
        match header.producer {
            Some(producer) if producer.epoch.0 < 0 || producer.base_sequence < 0 => {
                Err(BatchError::Sequence {
                    epoch: producer.epoch.0,
                    sequence: producer.base_sequence,
                })
            }
            _ => Ok(()),
        }
    }
}

impl<'p> Batch<'p> {
    /// Reads `payload`, this batch's records decompressed elsewhere.
    #[must_use]
    pub fn records_in(&self, payload: &'p [u8]) -> RecordIter<'p> {
        RecordIter::new(&self.header, payload)
    }
}

/// The batches that follow each other in some bytes, as in a fetch response or a segment.
///
/// A batch that the bytes end inside of ends the iteration without an error: fetches cut there.
/// After an error nothing more comes.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
    ended: bool,
}

impl<'a> Batches<'a> {
    /// Over `bytes`, from its first.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            ended: false,
        }
    }

    /// What has not been yielded: once the iteration ended, the partial batch or the bytes that
    /// are no batch; empty if all were whole.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Bytes of the next batch, if its length is there and can be true.
    fn next_bytes(&self) -> Result<Option<usize>, BatchError> {
        if self.rest.len() < PREFIX_BYTES as usize {
            return Ok(None);
        }
        let length = i32::from_be_bytes(header::field(self.rest, 8));
        let bytes = header::batch_bytes(length)? as usize;
        Ok((bytes <= self.rest.len()).then_some(bytes))
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let parsed = match self.next_bytes() {
            Ok(Some(_)) => Batch::parse(self.rest),
            Ok(None) => {
                self.ended = true;
                return None;
            }
            Err(error) => Err(error),
        };
        match &parsed {
            Ok(batch) => self.rest = self.rest.get(batch.bytes.len()..).unwrap_or_default(),
            Err(_) => self.ended = true,
        }
        Some(parsed)
    }
}

impl FusedIterator for Batches<'_> {}
