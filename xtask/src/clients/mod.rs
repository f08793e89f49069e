//! `cargo xtask clients`: unmodified Kafka clients against real nodes.
//!
//! Two parts: each client's own checks, then the matrix in which every client reads what every
//! other wrote. The nodes are three of the product's release binary, or with `--against kafka` an
//! Apache Kafka broker, which shows that the suite asks for nothing that Kafka does not do.

mod checks;
mod cluster;
mod driver;
pub(crate) mod failover;
mod flaky;
mod groups;
mod interop;
pub(crate) mod programs;
mod record;
mod reference;
mod replicas;
mod report;
mod target;

use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use self::driver::Driver;
use self::programs::{PROGRAMS, Program};
use self::report::Report;
use self::target::BehindProxy;
pub(crate) use self::target::Target;
use crate::steps::Done;
use crate::workspace;

/// How many drivers run at once: most of a suite's time is waiting for sessions to end.
const AT_ONCE: usize = 3;

/// Which clients, and against what.
#[derive(Args)]
pub(crate) struct ClientsArgs {
    /// Only these clients
    names: Vec<String>,
    /// What to run them against
    #[arg(long, value_enum, default_value_t = Against::Plimsoll)]
    against: Against,
    /// How many nodes of the product; several replicate every topic
    #[arg(long, default_value_t = 3)]
    nodes: u32,
    /// The product's binary; built with `--release` if left out
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// What the clients talk to.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Against {
    /// The product's release binary.
    Plimsoll,
    /// An Apache Kafka broker.
    Kafka,
}

/// `cargo xtask clients`.
pub(crate) fn clients(args: &ClientsArgs) -> Result<()> {
    // A mistyped name is told before a long build, not after it.
    named(&args.names)?;
    let target = match (args.against, &args.binary) {
        (Against::Kafka, _) => Target::Kafka,
        (Against::Plimsoll, binary) => Target::Plimsoll {
            binary: match binary {
                Some(binary) => binary.clone(),
                None => workspace::build_release()?,
            },
            nodes: args.nodes,
        },
    };
    match conformance(&args.names, &target)? {
        Done::Without(what) if workspace::is_ci() => bail!("nothing may be skipped, but {what}"),
        Done::Without(what) => println!("!! NOT CHECKED: {what}"),
        Done::Fully => {}
    }
    Ok(())
}

/// Fetches every client; what goes wrong is told when the client is wanted.
pub(crate) fn fetch_all() {
    for_each(&PROGRAMS.iter().collect::<Vec<_>>(), |program| {
        if program.missing_runtime().is_none() {
            // Kept for later: fetching again finds the same error and reports it.
            let _ = program.fetch();
        }
    });
}

/// Runs the checks of the named clients (none: all) and the matrix between them.
pub(crate) fn conformance(names: &[String], target: &Target) -> Result<Done> {
    let (programs, missing) = missing(named(names)?);
    let nodes = target::start(target, "clients")?;
    let behind = BehindProxy::start(target)?;
    println!("clients come to {}", nodes.bootstrap());

    let suites = Mutex::new(Vec::new());
    for_each(&programs, |program| {
        let suite = own_checks(program, &nodes.bootstrap(), nodes.count(), &behind);
        suites
            .lock()
            .expect("no suite panics while it holds this")
            .push(suite);
    });
    let mut suites = suites
        .into_inner()
        .expect("no suite panics while it holds this");
    suites.sort_by_key(|suite| suite.report.client().to_owned());

    let matrix: Vec<_> = suites
        .iter_mut()
        .flat_map(|suite| suite.written.drain(..))
        .collect();
    let reports = Mutex::new(Vec::new());
    for_each(
        &suites
            .into_iter()
            .map(|suite| Mutex::new(Some(suite)))
            .collect::<Vec<_>>(),
        |slot| {
            let taken = slot.lock().expect("each suite is taken once").take();
            let mut suite = taken.expect("each suite is taken once");
            if let Some(driver) = &mut suite.driver {
                interop::read(driver, &matrix, &mut suite.report);
            }
            reports
                .lock()
                .expect("no report panics while it holds this")
                .push(suite.report);
        },
    );
    sum_up(
        reports
            .into_inner()
            .expect("no report panics while it holds this"),
    )?;
    Ok(missing)
}

/// Those that can run on this machine, and why the others cannot.
fn missing(programs: Vec<&'static Program>) -> (Vec<&'static Program>, Done) {
    let (there, without): (Vec<_>, Vec<_>) = programs
        .into_iter()
        .map(|program| (program, program.missing_runtime()))
        .partition(|(_, missing)| missing.is_none());
    let without: Vec<_> = without
        .into_iter()
        .filter_map(|(program, missing)| Some((program.name, missing?)))
        .map(|(name, runtime)| format!("{name} needs {runtime}, which is missing"))
        .collect();
    let done = match without.is_empty() {
        true => Done::Fully,
        false => Done::Without(without.join("; ")),
    };
    (
        there.into_iter().map(|(program, _)| program).collect(),
        done,
    )
}

fn named(names: &[String]) -> Result<Vec<&'static Program>> {
    if names.is_empty() {
        return Ok(PROGRAMS.iter().collect());
    }
    names
        .iter()
        .map(|name| match Program::named(name) {
            Some(program) => Ok(program),
            None => {
                let known: Vec<_> = PROGRAMS.iter().map(|program| program.name).collect();
                bail!("no client {name:?}; there are: {}", known.join(", "))
            }
        })
        .collect()
}

/// A client between its own checks and the matrix.
struct Suite {
    report: Report,
    /// None when the client could not be fetched or started.
    driver: Option<Driver>,
    written: Vec<interop::Written>,
}

fn own_checks(program: &Program, bootstrap: &str, nodes: u32, behind: &BehindProxy) -> Suite {
    let mut report = Report::new(program.name);
    let mut driver = None;
    report.check("fetch", || {
        program
            .fetch()
            .map_err(|error| driver::Stop::Wrong(format!("{error:#}")))
    });
    if report.failures() == 0 {
        report.check("start", || {
            driver = Some(Driver::start(program.driver(), bootstrap)?);
            Ok(())
        });
    }
    let mut written = Vec::new();
    if let Some(driver) = &mut driver {
        println!("     {} is {}", program.name, driver.hello.client);
        let another = || Driver::start(program.driver(), bootstrap);
        checks::all(driver, &another, program.name, &mut report);
        if nodes > 1 {
            replicas::all(driver, nodes, program.name, &mut report);
        }
        report.check("idempotent-retries", || {
            let mut driver = Driver::start(program.driver(), &behind.bootstrap)?;
            let topic = format!("{}-retries", program.name);
            checks::idempotent_retries(&mut driver, &topic, || behind.cuts())
        });
        written = interop::write(driver, "all", &mut report);
    }
    Suite {
        report,
        driver,
        written,
    }
}

fn sum_up(mut reports: Vec<Report>) -> Result<()> {
    reports.sort_by_key(|report| report.client().to_owned());
    let mut total = Report::new("all clients");
    println!();
    for report in reports {
        report.print();
        total.add(report);
    }
    total.print();
    match total.failures() {
        0 => Ok(()),
        failures => bail!("{failures} client checks failed"),
    }
}

/// Does something with each item, a few at once.
fn for_each<T: Sync>(items: &[T], action: impl Fn(&T) + Sync) {
    let next = Mutex::new(items.iter());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let item = next
                        .lock()
                        .expect("taking the next item cannot panic")
                        .next();
                    match item {
                        Some(item) => action(item),
                        None => break,
                    }
                }
            });
        }
    });
}
