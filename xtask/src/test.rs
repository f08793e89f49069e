//! `cargo xtask test` and `cargo xtask ci`: every check there is, in the order that tells
//! soonest.

use std::process::Command;
use std::thread;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::clients::{self, Target, failover};
use crate::run::run;
use crate::steps::{Done, Steps};
use crate::suites::{cluster, hostile, kill};
use crate::workspace::{self, cargo};
use crate::{loom, tidy};

/// How many seeds of the simulation are run each time; longer runs are `plimsoll sim --minutes M`.
const SEEDS: &str = "500";

/// What of the test command to run.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Run only these steps
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Step>,
    /// Leave these steps out
    #[arg(long, value_enum, value_delimiter = ',')]
    skip: Vec<Step>,
    /// Leave out what needs a registry or another language: clients, failover, kill, cluster,
    /// hostile
    #[arg(long)]
    no_clients: bool,
    /// Run later steps even after a failure
    #[arg(long)]
    keep_going: bool,
}

/// The steps, in the order they run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    Fmt,
    Tidy,
    Clippy,
    Unit,
    Loom,
    Doc,
    Build,
    Sim,
    Clients,
    Failover,
    Kill,
    Cluster,
    Hostile,
}

impl TestArgs {
    fn wants(&self, step: Step) -> bool {
        let needs_clients = matches!(
            step,
            Step::Clients | Step::Failover | Step::Kill | Step::Cluster | Step::Hostile
        );
        // Its outcome depends on clients that give calls up when a machine is busy: on request.
        let by_default = step != Step::Failover;
        (self.only.is_empty() && by_default || self.only.contains(&step))
            && !self.skip.contains(&step)
            && !(self.no_clients && needs_clients)
    }
}

/// `cargo xtask test`; with `CI=true` in the environment it is `cargo xtask ci`.
pub(crate) fn test(args: &TestArgs) -> Result<()> {
    steps(args, workspace::is_ci())
}

/// `cargo xtask ci`.
pub(crate) fn ci(args: &TestArgs) -> Result<()> {
    steps(args, true)
}

fn steps(args: &TestArgs, ci: bool) -> Result<()> {
    let mut steps = Steps::new(args.keep_going || ci, ci);
    // Fetching is waiting for the network; it runs beside the compiler.
    let fetching = args
        .wants(Step::Clients)
        .then(|| thread::spawn(clients::fetch_all));

    let mut step = |name: Step, action: &dyn Fn() -> Result<Done>| {
        if args.wants(name) {
            let value = name.to_possible_value().expect("no step is hidden");
            steps.run(value.get_name(), action);
        }
    };
    step(Step::Fmt, &|| {
        fully(&mut cargo(["fmt", "--all", "--check"]))
    });
    step(Step::Tidy, &|| tidy::tidy().map(|()| Done::Fully));
    step(Step::Clippy, &|| {
        fully(&mut cargo([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    });
    step(Step::Unit, &|| {
        fully(&mut cargo(["test", "--workspace", "--no-fail-fast"]))
    });
    step(Step::Loom, &|| loom::models(None).map(|()| Done::Fully));
    step(Step::Doc, &|| {
        let mut doc = cargo([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ]);
        fully(doc.env("RUSTDOCFLAGS", "-D warnings"))
    });
    step(Step::Build, &|| {
        workspace::build_release().map(|_| Done::Fully)
    });
    if let Some(fetching) = fetching {
        // Its outcome is kept beside what it fetched and told by the step below.
        fetching.join().expect("fetching reports errors as values");
    }
    step(Step::Sim, &|| {
        let mut sim = Command::new(workspace::binary("release")?);
        fully(sim.args(["sim", "--seed", "1", "--runs", SEEDS, "--marks"]))
    });
    step(Step::Clients, &|| {
        let binary = workspace::binary("release")?;
        clients::conformance(&[], &Target::Plimsoll { binary, nodes: 3 })
    });
    step(Step::Failover, &|| {
        failover::suite(&failover::FailoverArgs::default())
    });
    step(Step::Kill, &|| kill::suite(&kill::KillArgs::default()));
    step(Step::Cluster, &|| {
        cluster::suite(&cluster::ClusterArgs::default())
    });
    step(Step::Hostile, &|| {
        hostile::suite(&hostile::HostileArgs::default())
    });
    steps.finish()
}

fn fully(command: &mut Command) -> Result<Done> {
    run(command).map(|()| Done::Fully)
}
