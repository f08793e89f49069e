//! The `plimsoll` program: reads the command line and hands over.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use plimsoll::args::{Arguments, Command, ConfigCommand};
use plimsoll_cli::{Exit, Failure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let words = std::env::args_os()
                .skip(1)
                .map(|word| word.to_string_lossy().into_owned());
            return plimsoll::usage::report(&error, words);
        }
    };
    match run(arguments.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print();
            failure.code.exit().into()
        }
    }
}

fn run(command: Command) -> Result<Exit, Failure> {
    let done = match command {
        Command::Serve(serve) => plimsoll::serve(&serve),
        Command::Dev(dev) => plimsoll::dev(&dev),
        Command::Sim(sim) => return plimsoll::sim(&sim),
        Command::Verb(verb) => return plimsoll_cli::run(verb),
        Command::Config(ConfigCommand::Explain {
            key,
            sources,
            output,
        }) => {
            let layers = sources.layers()?;
            match key {
                Some(key) => plimsoll::config::explain(&key, &layers, output),
                None => plimsoll::config::explain_all(&layers, output),
            }
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "plimsoll", &mut script);
            plimsoll_cli::print(&String::from_utf8_lossy(&script))
        }
    };
    done.map(|()| Exit::Ok)
}
