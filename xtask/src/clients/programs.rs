//! The clients: what each needs, how it is fetched, how its driver starts.
//!
//! Sources are in `xtask/clients/<name>/`, with exact versions in the ecosystem's own lock file;
//! everything fetched or built goes to `<target>/clients/<name>/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{answers, run_logged};
use crate::workspace::{root, target_dir};

/// One client.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    ecosystem: Ecosystem,
}

/// Where a client comes from and what runs it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ecosystem {
    Python,
    Node,
    Go,
    Java,
    /// The system's own `kcat`, driven by Python's standard library.
    Kcat,
}

const fn program(name: &'static str, ecosystem: Ecosystem) -> Program {
    Program { name, ecosystem }
}

/// Every client of the conformance suites.
pub(crate) const PROGRAMS: [Program; 8] = [
    program("confluent-kafka", Ecosystem::Python),
    program("kafka-python", Ecosystem::Python),
    program("aiokafka", Ecosystem::Python),
    program("kafkajs", Ecosystem::Node),
    program("platformatic-kafka", Ecosystem::Node),
    program("kcat", Ecosystem::Kcat),
    program("java", Ecosystem::Java),
    program("franz-go", Ecosystem::Go),
];

impl Program {
    /// The client of a name.
    pub(crate) fn named(name: &str) -> Option<&'static Program> {
        PROGRAMS.iter().find(|program| program.name == name)
    }

    /// The program this machine lacks to run it, if any.
    pub(crate) fn missing_runtime(&self) -> Option<&'static str> {
        let wanted: &[(&str, &[&str])] = match self.ecosystem {
            Ecosystem::Python => &[("python3", &["--version"])],
            Ecosystem::Node => &[("node", &["--version"]), ("npm", &["--version"])],
            Ecosystem::Go => &[("go", &["version"])],
            Ecosystem::Java => &[("javac", &["-version"]), ("mvn", &["-version"])],
            Ecosystem::Kcat => &[("python3", &["--version"]), ("kcat", &["-V"])],
        };
        wanted
            .iter()
            .find(|(program, args)| !answers(program, args))
            .map(|(program, _)| *program)
    }

    /// Fetches and builds it, unless that was done before from the same sources.
    pub(crate) fn fetch(&self) -> Result<()> {
        let (source, built) = (self.source(), self.built());
        fs::create_dir_all(&built)?;
        let stamp = built.join("fetched");
        let wanted = fingerprint(&source)?;
        if fs::read(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(());
        }
        match self.ecosystem {
            Ecosystem::Python => fetch_python(&source, &built)?,
            Ecosystem::Node => fetch_node(&source, &built)?,
            Ecosystem::Go => build_go(&source, &built)?,
            Ecosystem::Java => build_java(&source, &built)?,
            Ecosystem::Kcat => {}
        }
        fs::write(stamp, wanted)?;
        Ok(())
    }

    /// The command of its driver, which lacks only the bootstrap address.
    pub(crate) fn driver(&self) -> Command {
        let (source, built) = (self.source(), self.built());
        match self.ecosystem {
            Ecosystem::Python => {
                let mut command = Command::new(built.join("venv/bin/python"));
                command.arg("-B").arg(source.join("driver.py"));
                command
            }
            Ecosystem::Kcat => {
                let mut command = Command::new("python3");
                command.arg("-B").arg(source.join("driver.py"));
                command
            }
            Ecosystem::Node => {
                let mut command = Command::new("node");
                command.arg("--no-warnings").arg(built.join("driver.mjs"));
                command
            }
            Ecosystem::Go => Command::new(built.join("driver")),
            Ecosystem::Java => {
                let mut command = Command::new("java");
                command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp"]);
                command
                    .arg(format!("{0}/classes:{0}/lib/*", built.display()))
                    .arg("Driver");
                command
            }
        }
    }

    /// A python with its client installed, for suites that bring a program of their own.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(self.built().join("venv/bin/python"));
        command.arg("-B");
        command
    }

    fn source(&self) -> PathBuf {
        sources().join(self.name)
    }

    fn built(&self) -> PathBuf {
        fetched().join(self.name)
    }
}

/// The folder of all clients' sources.
pub(crate) fn sources() -> PathBuf {
    root().join("xtask/clients")
}

/// The folder of everything fetched.
pub(crate) fn fetched() -> PathBuf {
    target_dir().join("clients")
}

/// The dependencies of a Maven project, copied into a folder.
pub(crate) fn copy_maven_dependencies(project: &Path, into: &Path) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven
        .args(["-B", "-q", "-f"])
        .arg(project.join("pom.xml"))
        .arg(format!(
            "-Dmaven.repo.local={}",
            fetched().join("maven").display()
        ))
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", into.display()));
    run_logged(&mut maven, &into.with_extension("log"))
}

/// The names and contents of a source folder's files, as one byte string.
fn fingerprint(source: &Path) -> Result<Vec<u8>> {
    let entries = fs::read_dir(source).with_context(|| format!("read {}", source.display()))?;
    let mut files: Vec<_> = entries.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut print = Vec::new();
    for file in files.iter().filter(|file| file.path().is_file()) {
        print.extend_from_slice(file.file_name().as_encoded_bytes());
        print.extend(fs::read(file.path())?);
    }
    Ok(print)
}

fn fetch_python(source: &Path, built: &Path) -> Result<()> {
    let (venv, log) = (built.join("venv"), built.join("fetch.log"));
    run_logged(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv),
        &log,
    )?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--no-deps", "--only-binary=:all:", "-r"]);
    run_logged(pip.arg(source.join("requirements.txt")), &log)
}

fn fetch_node(source: &Path, built: &Path) -> Result<()> {
    for entry in fs::read_dir(source)? {
        let file = entry?.path();
        if let Some(name) = file.file_name().filter(|_| file.is_file()) {
            fs::copy(&file, built.join(name))?;
        }
    }
    fs::copy(sources().join("protocol.mjs"), built.join("protocol.mjs"))?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(built);
    run_logged(&mut npm, &built.join("fetch.log"))
}

fn build_go(source: &Path, built: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.args([
        "build",
        "-modcacherw",
        "-mod=readonly",
        "-buildvcs=false",
        "-o",
    ])
    .arg(built.join("driver"))
    .arg(".")
    .env("GOPATH", built.join("go"))
    .current_dir(source);
    run_logged(&mut go, &built.join("fetch.log"))
}

fn build_java(source: &Path, built: &Path) -> Result<()> {
    copy_maven_dependencies(source, &built.join("lib"))?;
    let mut javac = Command::new("javac");
    javac.arg("-Xlint:all").arg("-d").arg(built.join("classes"));
    javac.arg("-cp").arg(format!("{}/lib/*", built.display()));
    for entry in fs::read_dir(source)? {
        let file = entry?.path();
        if file.extension().is_some_and(|ending| ending == "java") {
            javac.arg(file);
        }
    }
    run_logged(&mut javac, &built.join("build.log"))
}
