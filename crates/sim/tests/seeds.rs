//! A few seeds with every change; many more by `plimsoll sim`.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![allow(
    clippy::disallowed_methods,
    reason = "how many seeds are run is for whoever runs them to say"
)]

use plimsoll_sim::{Plan, Report, run};

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
    set.unwrap_or(default)
}

fn told(report: &Report) -> String {
    let mut text = format!("seed {}:\n", report.seed);
    for line in report.story.iter().chain(&report.violations) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[test]
fn no_seed_breaks_a_rule() {
    let first = number("PLIMSOLL_SIM_FIRST", 1);
    for seed in first..first + number("PLIMSOLL_SIM_SEEDS", 6) {
        let report = run(&Plan::of(seed)).unwrap();
        assert!(report.violations.is_empty(), "{}", told(&report));
        assert!(
            report.records.1 > 0,
            "nothing was acknowledged: {}",
            told(&report)
        );
    }
}
