//! What is wrong with a command line, in one line.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use plimsoll_cli::{Exit, Failure};

/// Prints help as it is, and a mistake as one line with what was likely meant; returns the exit
/// code.
#[must_use]
pub fn report(error: &clap::Error) -> ExitCode {
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
            Failure::usage(sentence(error)).print();
            Exit::Usage.into()
        }
    }
}

/// The mistake, the suggestion, and where to read more.
fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let what: Vec<&str> = first
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let what = what.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    let mut sentence = what.to_owned();
    if let Some(meant) = suggestion(error) {
        sentence.push_str(&format!(". Did you mean {meant}?"));
    }
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let command = usage.map(command_of).unwrap_or("plimsoll".to_owned());
    format!("{sentence} (see {command} --help)")
}

fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ];
    kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(one) => Some(one.clone()),
        ContextValue::Strings(several) => several.first().cloned(),
        _ => None,
    })
}

/// The words of a usage line that are the command.
fn command_of(usage: &str) -> String {
    let words = usage.split_whitespace();
    let command: Vec<&str> = words
        .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
        .collect();
    command.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
    use clap::Parser as _;

    fn told(line: &str) -> String {
        let error = Arguments::try_parse_from(line.split(' ')).expect_err("a mistake");
        sentence(&error)
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
