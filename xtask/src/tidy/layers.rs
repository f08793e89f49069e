//! Layers and purity: which of our crates may use which, and what pure crates may name.
//!
//! The table is the design; adding an edge means editing it, and that is the review. It is
//! checked against `cargo metadata`, so a dependency that is not in the table fails the build
//! of whoever added it.

use anyhow::Result;
use serde::Deserialize;

use super::Finding;
use crate::run::output;
use crate::workspace::cargo;

/// What a crate may use of ours.
enum Ours {
    /// These, by folder name.
    Only(&'static [&'static str]),
    /// Any crate of the product.
    Any,
}

/// What a crate may use of others.
enum Outside {
    /// These: the crate is pure, or keeps one kind of I/O to itself.
    Only(&'static [&'static str]),
    /// Anything that docs/dependencies.md accounts for.
    Any,
}

/// One row: a crate, its layer, and its bounds.
struct Row {
    package: &'static str,
    layer: u8,
    ours: Ours,
    outside: Outside,
}

const fn row(package: &'static str, layer: u8, ours: Ours, outside: Outside) -> Row {
    Row {
        package,
        layer,
        ours,
        outside,
    }
}

const BELOW_BROKER: &[&str] = &[
    "plimsoll-types",
    "plimsoll-record-batch",
    "plimsoll-wire",
    "plimsoll-watermark",
    "plimsoll-controller",
    "plimsoll-group-coordinator",
    "plimsoll-segment-log",
    "plimsoll-quorum",
    "plimsoll-partition",
    "plimsoll-replication",
    "plimsoll-health",
    "plimsoll-replicator",
];

/// Crates of layer 8 are tools: nothing uses them.
const TOOLS: u8 = 8;

/// The layers, bottom up.
const LAYERS: &[Row] = &[
    row(
        "plimsoll-types",
        0,
        Ours::Only(&[]),
        Outside::Only(&["thiserror", "uuid", "serde"]),
    ),
    row(
        "plimsoll-record-batch",
        1,
        Ours::Only(&["plimsoll-types"]),
        Outside::Only(&[
            "bytes",
            "crc-fast",
            "flate2",
            "lz4_flex",
            "snap",
            "thiserror",
            "twox-hash",
            "zstd",
        ]),
    ),
    row(
        "plimsoll-wire",
        1,
        Ours::Only(&["plimsoll-types"]),
        Outside::Only(&["bytes", "crc32fast", "thiserror"]),
    ),
    row(
        "plimsoll-watermark",
        1,
        Ours::Only(&["plimsoll-types"]),
        Outside::Only(&[
            "arc-swap",
            "crossbeam-utils",
            "loom",
            "parking_lot",
            "thiserror",
        ]),
    ),
    row(
        "plimsoll-replication",
        1,
        Ours::Only(&["plimsoll-types"]),
        Outside::Only(&["thiserror"]),
    ),
    row(
        "plimsoll-health",
        1,
        Ours::Only(&["plimsoll-types"]),
        Outside::Only(&["thiserror"]),
    ),
    row(
        "plimsoll-controller",
        1,
        Ours::Only(&["plimsoll-types"]),
        Outside::Only(&["thiserror"]),
    ),
    row(
        "plimsoll-group-coordinator",
        1,
        Ours::Only(&["plimsoll-types"]),
        Outside::Only(&["bytes", "thiserror"]),
    ),
    row(
        "plimsoll-segment-log",
        2,
        Ours::Only(&["plimsoll-types", "plimsoll-record-batch"]),
        Outside::Only(&[
            "arc-swap",
            "bytes",
            "crc-fast",
            "crc32fast",
            "crossbeam-utils",
            "memmap2",
            "parking_lot",
            "rustix",
            "thiserror",
            "tracing",
            "uuid",
        ]),
    ),
    row(
        "plimsoll-quorum",
        2,
        Ours::Only(&["plimsoll-types"]),
        Outside::Only(&[
            "async-trait",
            "bytes",
            "crc32fast",
            "futures-util",
            "openraft",
            "parking_lot",
            "rustix",
            "thiserror",
            "tokio",
            "tracing",
        ]),
    ),
    row(
        "plimsoll-partition",
        3,
        Ours::Only(&[
            "plimsoll-types",
            "plimsoll-record-batch",
            "plimsoll-watermark",
            "plimsoll-segment-log",
        ]),
        Outside::Only(&[
            "arc-swap",
            "bytes",
            "crc-fast",
            "crossbeam-queue",
            "crossbeam-utils",
            "parking_lot",
            "thiserror",
            "tracing",
        ]),
    ),
    // The sessions between replicas. Futures are polled by hand: no runtime, no clock.
    row(
        "plimsoll-replicator",
        4,
        Ours::Only(&[
            "plimsoll-types",
            "plimsoll-record-batch",
            "plimsoll-wire",
            "plimsoll-watermark",
            "plimsoll-replication",
            "plimsoll-health",
            "plimsoll-segment-log",
            "plimsoll-partition",
        ]),
        Outside::Only(&[
            "arc-swap",
            "async-trait",
            "bytes",
            "crossbeam-queue",
            "crossbeam-utils",
            "papaya",
            "parking_lot",
            "thiserror",
            "tracing",
        ]),
    ),
    // Async begins here, a runtime does not: no tokio.
    row(
        "plimsoll-broker",
        5,
        Ours::Only(BELOW_BROKER),
        Outside::Only(&[
            "arc-swap",
            "async-trait",
            "bytes",
            "crossbeam-utils",
            "futures-util",
            "papaya",
            "parking_lot",
            // The free space of a disk, for DescribeLogDirs and the watch over it.
            "rustix",
            "thiserror",
            "tracing",
            "uuid",
        ]),
    ),
    row(
        "plimsoll-server",
        6,
        Ours::Only(&[
            "plimsoll-types",
            "plimsoll-wire",
            "plimsoll-quorum",
            "plimsoll-replicator",
            "plimsoll-broker",
        ]),
        Outside::Any,
    ),
    row(
        "plimsoll-admin",
        6,
        Ours::Only(&[
            "plimsoll-types",
            "plimsoll-controller",
            "plimsoll-health",
            "plimsoll-replicator",
            "plimsoll-broker",
        ]),
        Outside::Any,
    ),
    row(
        "plimsoll-client",
        6,
        Ours::Only(&["plimsoll-types", "plimsoll-record-batch", "plimsoll-wire"]),
        Outside::Any,
    ),
    row(
        "plimsoll-cli",
        7,
        Ours::Only(&[
            "plimsoll-types",
            "plimsoll-health",
            "plimsoll-record-batch",
            "plimsoll-wire",
            "plimsoll-client",
        ]),
        Outside::Any,
    ),
    // The product is what it plays with; the binary alone knows of it, for one verb.
    row("plimsoll-sim", 6, Ours::Any, Outside::Any),
    row("plimsoll", 7, Ours::Any, Outside::Any),
    row("plimsoll-benches", TOOLS, Ours::Any, Outside::Any),
    row("xtask", TOOLS, Ours::Only(&[]), Outside::Any),
];

/// Crates that strangers may reuse; each has a README of its own.
const REUSABLE: [&str; 6] = [
    "plimsoll-record-batch",
    "plimsoll-wire",
    "plimsoll-health",
    "plimsoll-watermark",
    "plimsoll-segment-log",
    "plimsoll-client",
];

/// A package as `cargo metadata` tells it.
#[derive(Clone, Deserialize)]
pub(super) struct Package {
    name: String,
    description: Option<String>,
    readme: Option<String>,
    dependencies: Vec<Dependency>,
}

/// A direct dependency of a package.
#[derive(Clone, Deserialize)]
struct Dependency {
    name: String,
    /// None, "dev" or "build".
    kind: Option<String>,
    /// Set for crates of this workspace.
    path: Option<String>,
}

/// The answer of `cargo metadata --no-deps`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// The workspace's packages.
pub(super) fn packages() -> Result<Vec<Package>> {
    let text = output(&mut cargo(["metadata", "--no-deps", "--format-version=1"]))?;
    Ok(serde_json::from_str::<Metadata>(&text)?.packages)
}

/// Checks every package against its row.
pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let mut find = |what: String| findings.push(Finding::new(&package.name, None, what));
        let Some(row) = LAYERS.iter().find(|row| row.package == package.name) else {
            find("is in no layer; give it a row in xtask/src/tidy/layers.rs".to_owned());
            continue;
        };
        if package.description.as_deref().is_none_or(str::is_empty) {
            find("has no description in its Cargo.toml".to_owned());
        }
        if REUSABLE.contains(&row.package) && package.readme.is_none() {
            find("is for reuse and has no README.md".to_owned());
        }
        for dependency in &package.dependencies {
            if let Some(what) = breach(row, dependency) {
                find(what);
            }
        }
    }
    findings
}

/// What an edge breaks, if anything.
fn breach(row: &Row, edge: &Dependency) -> Option<String> {
    let name = edge.name.as_str();
    if edge.path.is_some() {
        let target = LAYERS.iter().find(|other| other.package == name)?;
        if target.layer == TOOLS {
            return Some(format!("uses {name}, a tool; nothing uses tools"));
        }
        let allowed = match row.ours {
            // Tests of a crate may use its neighbours: no edge of theirs is in the product.
            Ours::Only(names) => {
                let test = edge.kind.as_deref() == Some("dev") && target.layer <= row.layer;
                names.contains(&name) || test
            }
            Ours::Any => true,
        };
        return (!allowed).then(|| format!("may not use {name} (layer {})", target.layer));
    }
    match row.outside {
        // Tests of a pure crate may use what they like.
        Outside::Only(names) if edge.kind.as_deref() != Some("dev") && !names.contains(&name) => {
            Some(format!(
                "may not name {name}: its purity is in xtask/src/tidy/layers.rs"
            ))
        }
        Outside::Only(_) | Outside::Any => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Dependency, LAYERS, Ours, Package, TOOLS, check, packages};

    fn package(name: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind, ours)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
                path: ours.then(|| "crates".to_owned()),
            })
            .collect();
        let text = || Some("x".to_owned());
        Package {
            name: name.to_owned(),
            description: text(),
            readme: text(),
            dependencies,
        }
    }

    #[test]
    fn every_allowed_edge_goes_down_or_stays_in_its_layer() {
        for row in LAYERS {
            let Ours::Only(names) = row.ours else {
                continue;
            };
            for name in names {
                let target = LAYERS.iter().find(|other| other.package == *name).unwrap();
                assert!(target.layer <= row.layer, "{} may use {name}", row.package);
                assert_ne!(target.package, row.package);
            }
        }
    }

    #[test]
    fn an_edge_up_is_found() {
        let packages = [package("plimsoll-wire", &[("plimsoll-broker", None, true)])];
        assert_eq!(check(&packages).len(), 1);
    }

    #[test]
    fn an_edge_to_a_tool_is_found_even_from_a_crate_that_may_use_any() {
        assert!(
            LAYERS
                .iter()
                .any(|row| row.layer == TOOLS && row.package == "plimsoll-benches")
        );
        let packages = [package(
            "plimsoll",
            &[("plimsoll-benches", Some("dev"), true)],
        )];
        assert_eq!(check(&packages).len(), 1);
    }

    #[test]
    fn a_pure_crate_that_names_a_runtime_is_found_but_not_in_its_tests() {
        let named = |kind| check(&[package("plimsoll-watermark", &[("tokio", kind, false)])]).len();
        assert_eq!(named(None), 1);
        assert_eq!(named(Some("build")), 1);
        assert_eq!(named(Some("dev")), 0);
    }

    #[test]
    fn a_crate_in_no_layer_is_found() {
        assert_eq!(check(&[package("plimsoll-new", &[])]).len(), 1);
    }

    #[test]
    fn the_table_has_no_row_without_a_package() {
        let packages = packages().unwrap();
        for row in LAYERS {
            assert!(
                packages.iter().any(|package| package.name == row.package),
                "{}",
                row.package
            );
        }
    }
}
