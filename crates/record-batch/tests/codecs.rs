//! Codecs: what goes in comes out, what clients write is read, bombs cost the limit.

use plimsoll_record_batch::{BatchError, Compression};

const CODECS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn compressed(codec: Compression, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    codec.compress(plain, &mut out).expect("compresses");
    out
}

/// Bytes that compress a little and repeat across the codecs' block boundaries.
fn sample(bytes: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0] & 0x3f
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn every_codec_gives_back_what_it_took() {
    for codec in Compression::ALL {
        for bytes in [0, 1, 100, 32 << 10, (32 << 10) + 1, 300_000] {
            let plain = sample(bytes);
            let data = compressed(codec, &plain);
            assert_eq!(codec.decompress(&data, bytes), Ok(plain), "{codec} {bytes}");
        }
    }
}

#[test]
fn one_byte_past_the_limit_is_refused() {
    for codec in Compression::ALL {
        let data = compressed(codec, &sample(100_000));
        let refused = codec.decompress(&data, 99_999);
        let (compression, max) = (codec, 99_999);
        assert_eq!(refused, Err(BatchError::TooLarge { compression, max }));
    }
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let zeros = vec![0; 16 << 20];
    for codec in CODECS {
        let bomb = compressed(codec, &zeros);
        assert!(bomb.len() < 1 << 20, "{codec} is {} bytes", bomb.len());
        let refused = codec.decompress(&bomb, 1 << 16);
        assert!(
            matches!(refused, Err(BatchError::TooLarge { .. })),
            "{codec}"
        );
    }
}

#[test]
fn data_cut_anywhere_is_corrupt() {
    for codec in CODECS {
        let plain = sample(5_000);
        let data = compressed(codec, &plain);
        for cut in 0..data.len() {
            let got = codec.decompress(&data[..cut], 1 << 20);
            // Framed snappy has no end mark: cut between blocks, it is a shorter stream.
            let shorter = codec == Compression::Snappy && cut == 16;
            assert!(got.is_err() || shorter, "{codec} cut at {cut}");
        }
    }
}

#[test]
fn bytes_after_the_end_are_corrupt() {
    for codec in CODECS {
        let mut data = compressed(codec, b"payload");
        data.extend_from_slice(b"what is this");
        assert!(codec.decompress(&data, 1 << 20).is_err(), "{codec}");
    }
}

#[test]
fn streams_after_each_other_are_one() {
    for codec in CODECS {
        let mut data = compressed(codec, b"first ");
        data.extend(compressed(codec, b"second"));
        let plain = codec.decompress(&data, 1 << 20).expect("decompresses");
        assert_eq!(plain, b"first second", "{codec}");
    }
}

#[test]
fn bytes_of_no_codec_are_corrupt() {
    for codec in CODECS {
        for data in [&b""[..], b"hello, this is plain text", &[0xff; 64]] {
            let refused = codec.decompress(data, 1 << 20);
            assert!(refused.is_err(), "{codec} {data:?} {refused:?}");
        }
    }
}

#[test]
fn raw_snappy_as_librdkafka_writes_it_is_read() {
    // Varint length 5, then a literal of 5 bytes.
    let raw = [5, 4 << 2, b'h', b'e', b'l', b'l', b'o'];
    let plain = Compression::Snappy.decompress(&raw, 5);
    assert_eq!(plain.as_deref(), Ok(&b"hello"[..]));
}

#[test]
fn xerial_framing_is_written_to_the_letter() {
    let data = compressed(Compression::Snappy, b"hello");
    let expected = [
        0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, // header
        0, 0, 0, 7, 5, 16, b'h', b'e', b'l', b'l', b'o', // one block
    ];
    assert_eq!(data, expected);
}

#[test]
fn a_snappy_block_that_claims_gigabytes_is_not_believed() {
    // Varint 0x0fff_ffff, then nothing that could make as much.
    let lie = [0xff, 0xff, 0xff, 0x7f, 0];
    let refused = Compression::Snappy.decompress(&lie, 1 << 30);
    assert!(matches!(refused, Err(BatchError::Corrupt { .. })));
}

#[test]
fn lz4_frames_have_what_the_java_client_demands() {
    let data = compressed(Compression::Lz4, &sample(200_000));
    assert_eq!(data[..4], [0x04, 0x22, 0x4d, 0x18]);
    let flags = data[4];
    assert_eq!(flags >> 6, 1, "version");
    assert_eq!(flags & 0b10_0000, 0b10_0000, "independent blocks");
    assert_eq!(flags & 0b11, 0, "reserved bit and dictionary id");
    assert_eq!((data[5] >> 4) & 7, 4, "blocks of 64 KiB");
}

#[test]
fn a_legacy_lz4_frame_is_refused() {
    let legacy = [0x02, 0x21, 0x4c, 0x18, 1, 0, 0, 0, 0];
    let refused = Compression::Lz4.decompress(&legacy, 1 << 20);
    assert!(matches!(refused, Err(BatchError::Corrupt { .. })));
}

#[test]
fn a_zstd_frame_that_asks_for_a_huge_window_costs_no_window() {
    // Magic, no content size, window descriptor of 2^41 bytes, one empty last raw block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00];
    let got = Compression::Zstd.decompress(&frame, 1 << 20);
    assert!(got.is_err() || got.as_deref() == Ok(&[]), "{got:?}");
}

#[test]
fn names_are_kafkas() {
    for codec in Compression::ALL {
        assert_eq!(Compression::from_name(codec.name()), Some(codec));
        assert_eq!(Compression::from_bits(codec.bits()), Some(codec));
    }
    assert_eq!(
        Compression::from_name("uncompressed"),
        Some(Compression::None)
    );
    assert_eq!(Compression::from_name("brotli"), None);
    assert_eq!(Compression::from_bits(5), None);
}
