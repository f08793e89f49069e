//! The batch's 16 attribute bits.
//!
//! ```text
//! bits 0-2  codec              bit 4  transactional     bit 6  base timestamp is a delete horizon
//! bit  3    log-append time    bit 5  control           7-15   unused, kept as they are
//! ```

use crate::{BatchError, Compression};

const CODEC: u16 = 0b111;
const LOG_APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;
const DELETE_HORIZON: u16 = 1 << 6;

/// Whose clock a batch's timestamps come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's: each record has its own.
    CreateTime,
    /// The broker's at the append: all records have the batch's greatest timestamp.
    LogAppendTime,
}

/// The attribute bits of a batch. The codec among them always exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    bits: u16,
    compression: Compression,
}

impl Attributes {
    /// The attributes in these wire bits.
    ///
    /// # Errors
    /// [`BatchError::Codec`] when the codec bits name none. Unused bits are accepted and kept.
    pub fn from_bits(bits: i16) -> Result<Self, BatchError> {
        let bits = bits.cast_unsigned();
        let [_, low] = (bits & CODEC).to_be_bytes();
        let compression = Compression::from_bits(low).ok_or(BatchError::Codec { codec: low })?;
        Ok(Self { bits, compression })
    }

    /// No bit set but the codec's.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self {
            bits: u16::from(compression.bits()),
            compression,
        }
    }

    /// The wire bits.
    #[must_use]
    pub fn bits(self) -> i16 {
        self.bits.cast_signed()
    }

    /// The codec of the records.
    #[must_use]
    pub fn compression(self) -> Compression {
        self.compression
    }

    /// Whose clock the timestamps come from.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        if self.has(LOG_APPEND_TIME) {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub fn is_transactional(self) -> bool {
        self.has(TRANSACTIONAL)
    }

    /// Whether its records are the broker's own markers, not for applications.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.has(CONTROL)
    }

    /// Whether the base timestamp is the time from which tombstones may go.
    #[must_use]
    pub fn has_delete_horizon(self) -> bool {
        self.has(DELETE_HORIZON)
    }

    /// The same with another codec.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Self {
            bits: (self.bits & !CODEC) | u16::from(compression.bits()),
            compression,
        }
    }

    /// The same with another timestamp type.
    #[must_use]
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.with(
            LOG_APPEND_TIME,
            timestamp_type == TimestampType::LogAppendTime,
        )
    }

    /// The same with the transactional bit as told.
    #[must_use]
    pub fn with_transactional(self, yes: bool) -> Self {
        self.with(TRANSACTIONAL, yes)
    }

    /// The same with the control bit as told.
    #[must_use]
    pub fn with_control(self, yes: bool) -> Self {
        self.with(CONTROL, yes)
    }

    /// The same with the delete-horizon bit as told.
    #[must_use]
    pub fn with_delete_horizon(self, yes: bool) -> Self {
        self.with(DELETE_HORIZON, yes)
    }

    fn has(self, bit: u16) -> bool {
        self.bits & bit != 0
    }

    fn with(self, bit: u16, yes: bool) -> Self {
        let bits = if yes {
            self.bits | bit
        } else {
            self.bits & !bit
        };
        Self { bits, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_that_do_not_exist_are_refused() {
        for codec in 5..8u8 {
            assert_eq!(
                Attributes::from_bits(i16::from(codec)),
                Err(BatchError::Codec { codec })
            );
        }
    }

    #[test]
    fn unused_bits_survive_a_change_of_codec() {
        let attributes = Attributes::from_bits(-8).expect("codec 0");
        let changed = attributes.with_compression(Compression::Zstd);
        assert_eq!(changed.bits(), -8 | 4);
        assert_eq!(changed.compression(), Compression::Zstd);
    }

    #[test]
    fn each_flag_is_its_own_bit() {
        let plain = Attributes::new(Compression::None);
        assert_eq!(
            plain
                .with_timestamp_type(TimestampType::LogAppendTime)
                .bits(),
            8
        );
        assert_eq!(plain.with_transactional(true).bits(), 16);
        assert_eq!(plain.with_control(true).bits(), 32);
        assert_eq!(plain.with_delete_horizon(true).bits(), 64);
        assert_eq!(plain.with_control(true).with_control(false), plain);
    }
}
