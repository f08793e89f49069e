//! `cargo xtask clients`: unmodified Kafka clients against a real node.
//!
//! Three parts: each client's own checks, then the matrix in which every client reads what every
//! other wrote. The node is the product's release binary, or with `--against kafka` an Apache
//! Kafka broker, which shows that the suite asks for nothing that Kafka does not do.

mod checks;
mod driver;
mod flaky;
mod groups;
mod interop;
pub(crate) mod programs;
mod record;
mod reference;
mod report;

use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use self::driver::Driver;
use self::flaky::Flaky;
use self::programs::{PROGRAMS, Program};
use self::report::Report;
use crate::node::{Node, Place, free_ports, scratch};
use crate::random::seed_or_now;
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

/// What to start for the clients.
pub(crate) enum Target {
    /// This binary of the product.
    Plimsoll(PathBuf),
    /// The reference.
    Kafka,
}

/// `cargo xtask clients`.
pub(crate) fn clients(args: &ClientsArgs) -> Result<()> {
    // A mistyped name is told before a long build, not after it.
    named(&args.names)?;
    let target = match (args.against, &args.binary) {
        (Against::Kafka, _) => Target::Kafka,
        (Against::Plimsoll, Some(binary)) => Target::Plimsoll(binary.clone()),
        (Against::Plimsoll, None) => Target::Plimsoll(workspace::build_release()?),
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
    let programs = named(names)?;
    let missing: Vec<_> = programs
        .iter()
        .filter_map(|program| Some((program.name, program.missing_runtime()?)))
        .map(|(name, runtime)| format!("{name} needs {runtime}, which is missing"))
        .collect();
    let programs: Vec<_> = programs
        .into_iter()
        .filter(|program| program.missing_runtime().is_none())
        .collect();
    let node = start(target, "clients", None)?;
    let behind = BehindProxy::start(target)?;
    println!("node on {}, process {}", node.bootstrap(), node.pid());

    let suites = Mutex::new(Vec::new());
    for_each(&programs, |program| {
        let suite = own_checks(program, &node.bootstrap(), &behind);
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
    Ok(if missing.is_empty() {
        Done::Fully
    } else {
        Done::Without(missing.join("; "))
    })
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

/// A node of either kind, with an empty folder; `advertised` is the port its clients are told.
fn start(target: &Target, name: &str, advertised: Option<u16>) -> Result<Node> {
    match target {
        Target::Plimsoll(binary) => {
            let dir = scratch(&format!("{name}-plimsoll"))?;
            let mut place = Place::new(binary, &dir)?;
            // As the reference has it: a group's first member does not wait for others.
            place.extra = ["--set", "group.initial.rebalance.delay.ms=0"]
                .map(str::to_owned)
                .into();
            if let Some(port) = advertised {
                place
                    .extra
                    .extend(["--advertise".to_owned(), format!("127.0.0.1:{port}")]);
            }
            place.start()
        }
        Target::Kafka => {
            reference::fetch()?;
            reference::start(&scratch(&format!("{name}-kafka"))?, advertised)
        }
    }
}

/// A node that clients reach only through a proxy that loses replies.
struct BehindProxy {
    bootstrap: String,
    proxy: Flaky,
    _node: Node,
}

impl BehindProxy {
    fn start(target: &Target) -> Result<Self> {
        let [port] = free_ports()?;
        let node = start(target, "clients-flaky", Some(port))?;
        let seed = seed_or_now(None);
        println!("replies are lost by seed {seed}");
        let proxy = Flaky::start(port, node.kafka, seed)?;
        Ok(Self {
            bootstrap: format!("127.0.0.1:{port}"),
            proxy,
            _node: node,
        })
    }
}

/// A client between its own checks and the matrix.
struct Suite {
    report: Report,
    /// None when the client could not be fetched or started.
    driver: Option<Driver>,
    written: Vec<interop::Written>,
}

fn own_checks(program: &Program, bootstrap: &str, behind: &BehindProxy) -> Suite {
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
        report.check("idempotent-retries", || {
            let mut driver = Driver::start(program.driver(), &behind.bootstrap)?;
            let topic = format!("{}-retries", program.name);
            checks::idempotent_retries(&mut driver, &topic, || behind.proxy.cuts())
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
