//! `cargo xtask cluster`: real nodes hurt in every way, under real clients' load.
//!
//! A scenario is a fault. During it two producers (one idempotent) and a consumer that counts every
//! offset are at work, and `doctor` is asked all the time. After it all replicas must be in sync
//! again by themselves, with HW = LEO, and their logs equal byte for byte. At the end everything
//! that was acknowledged must be there, once and in order.

mod answers;
pub(crate) mod bytes;
mod doctor;
mod figures;
mod nodes;
mod proxy;
mod scenarios;
mod stage;
mod tools;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::figures::Report;
use self::nodes::Form;
use self::scenarios::{ALL, Play, Scenario, Where};
use self::stage::{Setting, Stage};
use crate::node::scratch;
use crate::random::Random;
use crate::steps::Done;
use crate::workspace;

/// What of the suite to run, how often, and with which choices.
#[derive(Args, Default)]
pub(crate) struct ClusterArgs {
    /// Run only these scenarios
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Run every scenario, those too that take long or need root
    #[arg(long)]
    all: bool,
    /// Name the scenarios, and run none
    #[arg(long)]
    list: bool,
    /// How many times a leader is killed, half of the time with the controller in it [default: 2]
    #[arg(long)]
    kills: Option<u32>,
    /// Hold all times to what a quiet machine of four cores gives
    #[arg(long)]
    strict: bool,
    /// Append every claim with its figures to this file, a JSON document a line
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Repeats the random choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// The binary to hurt; built with `--release` if left out
    #[arg(long)]
    binary: Option<PathBuf>,
}

impl ClusterArgs {
    /// The scenarios to run.
    fn chosen(&self) -> Result<Vec<&'static Scenario>> {
        for name in &self.only {
            if !ALL.iter().any(|scenario| scenario.name == name) {
                bail!("there is no scenario {name}; --list names them");
            }
        }
        let wanted = |scenario: &&Scenario| match self.only.is_empty() {
            true => self.all || scenario.always,
            false => self.only.iter().any(|name| name == scenario.name),
        };
        Ok(ALL.iter().filter(wanted).collect())
    }
}

/// `cargo xtask cluster`.
pub(crate) fn cluster(args: &ClusterArgs) -> Result<()> {
    if args.list {
        for scenario in ALL {
            let when = if scenario.always {
                ""
            } else {
                " (if asked for)"
            };
            println!("{:<24} {}{when}", scenario.name, scenario.about);
        }
        return Ok(());
    }
    args.chosen()?;
    if args.binary.is_none() {
        workspace::build_release()?;
    }
    match suite(args)? {
        Done::Without(what) => println!("!! NOT CHECKED: {what}"),
        Done::Fully => {}
    }
    Ok(())
}

/// The suite as a step of the test command.
pub(crate) fn suite(args: &ClusterArgs) -> Result<Done> {
    let (seed, binary) = match crate::suites::prepare(args.seed, args.binary.as_deref())? {
        Ok(prepared) => prepared,
        Err(missing) => return Ok(Done::Without(missing)),
    };
    let mut report = Report::new(seed, args.strict, args.results.as_deref())?;
    let dir = scratch("cluster")?;
    let chosen = args.chosen()?;
    for place in [Where::Shared, Where::Proxied, Where::Alone] {
        let here = chosen.iter().filter(|scenario| scenario.place() == place);
        let here = here.copied().collect::<Vec<_>>();
        play(&here, place, seed, &binary, &dir, args.kills, &mut report)
            .with_context(|| format!("seed {seed}"))?;
    }
    let skipped = report.finish().with_context(|| format!("seed {seed}"))?;
    if skipped.is_empty() {
        return Ok(Done::Fully);
    }
    Ok(Done::Without(skipped.join("; ")))
}

/// Plays scenarios of one kind, one after the other; a new stage after one that broke.
fn play(
    scenarios: &[&Scenario],
    place: Where,
    seed: u64,
    binary: &Path,
    dir: &Path,
    kills: Option<u32>,
    report: &mut Report,
) -> Result<()> {
    let dir = dir.join(format!("{place:?}").to_lowercase());
    let setting = Setting {
        binary,
        dir: &dir,
        kills: kills.unwrap_or(2),
    };
    // Changed bits are looked for once an hour; nobody here waits for so long.
    let soon = [
        "scrub.interval.ms=3000",
        "scrub.max.bytes.per.second=33554432",
    ];
    let extra = soon.iter().flat_map(|pair| ["--set", *pair]);
    let form = Form {
        extra: extra.map(str::to_owned).collect(),
        proxied: place == Where::Proxied,
    };
    if place == Where::Alone {
        for scenario in scenarios {
            let Play::Alone(act) = scenario.play else {
                continue;
            };
            let begun = Instant::now();
            report.scenario(scenario.name);
            let outcome = act(&setting, report, choices(seed, scenario));
            ended(report, outcome);
            println!("---- {} took {:.1?}", scenario.name, begun.elapsed());
        }
        return Ok(());
    }
    let mut left = scenarios.iter().peekable();
    while left.peek().is_some() {
        report.scenario("at the beginning");
        let mut stage = Stage::set(&setting, &form, report, |_| Ok(()))?;
        let mut whole = true;
        while let Some(scenario) = left.next_if(|_| whole) {
            let (Play::Shared(act) | Play::Proxied(act)) = scenario.play else {
                continue;
            };
            let begun = Instant::now();
            stage.report.scenario(scenario.name);
            stage.random = choices(seed, scenario);
            let outcome = act(&mut stage);
            whole = ended(stage.report, outcome);
            println!("---- {} took {:.1?}", scenario.name, begun.elapsed());
        }
        // Where something broke, the next scenarios want a stage that works.
        if whole {
            let closed = stage.close();
            ended(report, closed);
        }
    }
    Ok(())
}

/// Whether a scenario came to its end; a claim that does not hold if not.
fn ended(report: &mut Report, outcome: Result<()>) -> bool {
    let whole = outcome.is_ok();
    if let Err(error) = outcome {
        report.claim("comes to its end", Err(error));
    }
    whole
}

/// The choices of a scenario follow from the seed and its name, whatever else runs.
fn choices(seed: u64, scenario: &Scenario) -> Random {
    let name = scenario.name.bytes().fold(seed, |sum, byte| {
        sum.rotate_left(7) ^ u64::from(byte).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    });
    Random::new(name)
}

#[cfg(test)]
mod tests {
    use super::ClusterArgs;
    use super::scenarios::ALL;

    #[test]
    fn scenarios_are_chosen_by_name() {
        let only = vec!["kills".to_owned()];
        let args = ClusterArgs {
            only,
            ..ClusterArgs::default()
        };
        let chosen = args.chosen().expect("it is one");
        assert_eq!(chosen.len(), 1);
        let none = ClusterArgs {
            only: vec!["nonsense".to_owned()],
            ..ClusterArgs::default()
        };
        assert!(none.chosen().is_err());
        let always = ClusterArgs::default().chosen().expect("no names to miss");
        assert!(always.iter().all(|scenario| scenario.always));
        let all = ClusterArgs {
            all: true,
            ..ClusterArgs::default()
        };
        assert_eq!(all.chosen().expect("no names to miss").len(), ALL.len());
    }

    #[test]
    fn names_of_scenarios_are_unique() {
        for scenario in ALL {
            let same = ALL.iter().filter(|other| other.name == scenario.name);
            assert_eq!(same.count(), 1, "{}", scenario.name);
        }
    }
}
