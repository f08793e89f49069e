//! The matrix: what each client writes with each codec, every client reads byte for byte.

use super::checks::{CODECS, create_or_rely_on_auto, same};
use super::driver::{Driver, Outcome, Settings, Stop};
use super::record::{Feature, Record, Sample, samples};
use super::report::Report;

/// The features that concern headers alone: a reader without one still reads key and value.
const OF_HEADERS: [Feature; 4] = [
    Feature::DuplicateHeaders,
    Feature::HeaderOrder,
    Feature::NullHeaderValues,
    Feature::BinaryHeaders,
];

/// A topic of the matrix: who wrote it, and what it must hold.
pub(super) struct Written {
    writer: String,
    codec: &'static str,
    topic: String,
    samples: Vec<Sample>,
}

/// Writes the samples with each codec of a client, each into a topic of its own.
pub(super) fn write(driver: &mut Driver, prefix: &str, report: &mut Report) -> Vec<Written> {
    let mut topics = Vec::new();
    for codec in CODECS {
        let topic = format!("{prefix}-matrix-{}-{codec}", report.client());
        let mut samples = samples();
        samples.retain(|sample| driver.writes(sample.needs));
        let writer = report.client().to_owned();
        report.check(&format!("writes-{codec}"), || {
            driver.needs_codec(codec)?;
            create_or_rely_on_auto(driver, &topic, 1)?;
            let records: Vec<_> = samples.iter().map(|sample| &sample.record).collect();
            let settings = Settings {
                codec,
                acks: "all",
                idempotent: false,
            };
            driver.produce((&topic, 0), settings, &records)?;
            topics.push(Written {
                writer,
                codec,
                topic: topic.clone(),
                samples,
            });
            Ok(())
        });
    }
    topics
}

/// Reads every topic of the matrix with one client: a check each.
pub(super) fn read(driver: &mut Driver, matrix: &[Written], report: &mut Report) {
    for written in matrix {
        let name = format!("reads-{}-{}", written.writer, written.codec);
        report.check(&name, || read_topic(driver, written));
    }
}

fn read_topic(driver: &mut Driver, written: &Written) -> Outcome<()> {
    driver.needs_codec(written.codec)?;
    if driver
        .hello
        .cannot_read_codecs
        .iter()
        .any(|codec| codec == written.codec)
    {
        return Err(Stop::Skip(format!(
            "the client cannot read others' {}",
            written.codec
        )));
    }
    let mut read = driver.consume((&written.topic, 0), 0, written.samples.len())?;
    let mut wanted: Vec<Record> = Vec::with_capacity(read.len());
    for (got, sample) in read.iter_mut().zip(&written.samples) {
        let mut record = sample.record.clone();
        if driver
            .hello
            .lacks
            .iter()
            .any(|lack| OF_HEADERS.contains(lack) && sample.needs.contains(lack))
        {
            // The reader cannot tell these headers; its key and value still count.
            got.headers.clear();
            record.headers.clear();
        }
        if driver.hello.lacks.contains(&Feature::Nulls) {
            for field in [
                &mut got.key,
                &mut got.value,
                &mut record.key,
                &mut record.value,
            ] {
                field.get_or_insert_with(|| super::record::Hex(Vec::new()));
            }
        }
        wanted.push(record);
    }
    same(&read, &wanted.iter().collect::<Vec<_>>(), 0)
}
