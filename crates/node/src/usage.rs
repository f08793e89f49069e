//! What is wrong with a command line, in one line.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use plimsoll_cli::{Exit, Failure};

use crate::args::Arguments;

/// Prints help as it is, and a mistake as one line with what was likely meant; returns the exit
/// code. `words` are what was typed, after the program's name.
#[must_use]
pub fn report(error: &clap::Error, words: impl IntoIterator<Item = String>) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader of the help that went away is no failure.
            let _ = error.print();
            Exit::Ok.into()
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::Usage.into()
        }
        _ => {
            Failure::usage(sentence(error, words)).print();
            Exit::Usage.into()
        }
    }
}

/// The mistake, the suggestion, and where to read more.
fn sentence(error: &clap::Error, words: impl IntoIterator<Item = String>) -> String {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = first
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let what = lines.join(" ");
    let mut sentence = what.strip_prefix("error: ").unwrap_or(&what).to_owned();
    if let Some(meant) = suggestion(error) {
        sentence.push_str(&format!(". Did you mean {meant}?"));
    }
    format!("{sentence} (see {} --help)", command_of(words))
}

/// The command that the words name, as far as they name one.
fn command_of(words: impl IntoIterator<Item = String>) -> String {
    let arguments = Arguments::command();
    let mut command = &arguments;
    let mut path = arguments.get_name().to_owned();
    for word in words {
        let Some(verb) = command.find_subcommand(&word) else {
            break;
        };
        path = format!("{path} {word}");
        command = verb;
    }
    path
}

fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ];
    // Of several, the last is the likeliest.
    kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(one) => Some(one.clone()),
        ContextValue::Strings(several) => several.last().cloned(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn told(line: &str) -> String {
        let error = Arguments::try_parse_from(line.split(' ')).expect_err("a mistake");
        sentence(&error, line.split(' ').skip(1).map(str::to_owned))
    }

    #[test]
    fn mistakes_fit_one_line_and_name_what_was_meant() {
        for (line, expected) in [
            ("plimsoll serve --datadir x", "Did you mean --data-dir?"),
            ("plimsoll serv", "Did you mean serve?"),
            (
                "plimsoll topic create",
                "(see plimsoll topic create --help)",
            ),
            ("plimsoll topic create x -p 0", "0 is not in 1.."),
            (
                "plimsoll consume t -o noon",
                "beginning, end, OFFSET, -N, @TIMESTAMP",
            ),
        ] {
            let told = told(line);
            assert!(told.contains(expected), "{line}: {told}");
            assert!(!told.contains('\n'), "{told}");
        }
    }
}
