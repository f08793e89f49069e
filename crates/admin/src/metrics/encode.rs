//! Writing families down, a name and a list of labelled values each.

use super::{Family, Kind};
use crate::admin::Build;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;

/// What every label set here is: names and values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

pub(super) fn build(encoder: &mut DescriptorEncoder<'_>, build: Build) -> fmt::Result {
    let help = "The program that runs";
    let mut info = encoder.encode_descriptor("plimsoll_build", help, None, MetricType::Info)?;
    let commit = build.commit.unwrap_or("unknown");
    info.encode_info(&[("version", build.version), ("commit", commit)])
}

pub(super) fn family(encoder: &mut DescriptorEncoder<'_>, family: &Family) -> fmt::Result {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
    for sample in &family.samples {
        let labels: Vec<_> = sample
            .labels
            .iter()
            .map(|(k, v)| (*k, v.as_str()))
            .collect();
        match (family.kind, labels.is_empty()) {
            (Kind::Counter, true) => {
                metric.encode_counter::<NoLabelSet, _, f64>(&sample.value, None)
            }
            (Kind::Counter, false) => metric
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, f64>(&sample.value, None),
            (Kind::Gauge, true) => metric.encode_gauge(&sample.value),
            (Kind::Gauge, false) => metric.encode_family(&labels)?.encode_gauge(&sample.value),
        }?;
    }
    Ok(())
}

/// The unit of times.
pub(super) const fn seconds() -> Option<&'static Unit> {
    Some(&Unit::Seconds)
}

/// One histogram of times without labels: the sum in seconds, and each bucket's own count.
pub(super) fn times(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    sum: f64,
    buckets: &[(f64, u64)],
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, seconds(), MetricType::Histogram)?;
    let count = buckets.iter().map(|(_, count)| count).sum();
    metric.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
}

/// One counter without labels.
pub(super) fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

/// One gauge without labels.
pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    metric.encode_gauge(&signed(value))
}

/// A gauge's number: those that metrics carry are signed, and none of ours comes near the end.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
