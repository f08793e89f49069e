//! What a command prints on standard output, in the form its caller asked for.
//!
//! Standard output carries the answer alone, so that it can be piped; notes go to standard error.
//! Every JSON document says `"schema": 1`; a change that could break a reader raises it. A reader
//! that has seen enough (`| head`) is no error.

use std::io::{self, Write as _};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::{Code, Failure};
use crate::yaml::yaml;

/// The version of the JSON forms.
pub(crate) const SCHEMA: u32 = 1;

/// A form of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people.
    #[default]
    Table,
    /// Columns, all of them.
    Wide,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// One YAML document.
    Yaml,
    /// Names alone, one a line.
    Name,
}

/// How a list looks to people.
pub struct Columns<'a, T> {
    /// Headings of the columns always shown; the first is the name.
    pub headings: &'a [&'a str],
    /// Headings of those that only the wide form shows.
    pub more: &'a [&'a str],
    /// All cells of a row, those of `more` last.
    pub cells: fn(&T) -> Vec<String>,
}

impl Output {
    /// Prints one thing, a `kind`, called `name`.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn one<T: Serialize>(
        self,
        kind: &str,
        name: &str,
        thing: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Table | Self::Wide => print(&text()),
            Self::Json => print(&format!("{:#}\n", document([(kind, thing)])?)),
            Self::Jsonl => print(&format!("{}\n", document([(kind, thing)])?)),
            Self::Yaml => print(&yaml(&document([(kind, thing)])?)),
            Self::Name => print(&format!("{name}\n")),
        }
    }

    /// Prints what a node answered, which is a document already.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn answer(
        self,
        answer: &Value,
        names: impl FnOnce() -> String,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Table | Self::Wide => print(&text()),
            Self::Json => print(&format!("{answer:#}\n")),
            Self::Jsonl => print(&format!("{answer}\n")),
            Self::Yaml => print(&yaml(answer)),
            Self::Name => print(&names()),
        }
    }

    /// Prints a list of things called `name`.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn list<T: Serialize>(
        self,
        name: &str,
        rows: &[T],
        columns: &Columns<'_, T>,
    ) -> Result<(), Failure> {
        match self {
            Self::Json => print(&format!("{:#}\n", document([(name, rows)])?)),
            Self::Yaml => print(&yaml(&document([(name, rows)])?)),
            Self::Jsonl => {
                let mut text = String::new();
                for row in rows {
                    text.push_str(&format!("{}\n", line(row)?));
                }
                print(&text)
            }
            Self::Name => {
                let name = |row| (columns.cells)(row).into_iter().next().unwrap_or_default() + "\n";
                print(&rows.iter().map(name).collect::<String>())
            }
            Self::Table | Self::Wide => {
                let mut headings = columns.headings.to_vec();
                if self == Self::Wide {
                    headings.extend(columns.more);
                }
                let headings: Vec<String> = headings.into_iter().map(str::to_owned).collect();
                let shown = headings.len();
                let cells = rows.iter().map(|row| {
                    let mut cells = (columns.cells)(row);
                    cells.truncate(shown);
                    cells
                });
                print(&table(std::iter::once(headings).chain(cells)))
            }
        }
    }
}

/// `{"schema": 1, name: thing, …}`.
fn document<'a, T: Serialize + ?Sized + 'a>(
    parts: impl IntoIterator<Item = (&'a str, &'a T)>,
) -> Result<Value, Failure> {
    let mut document = Map::new();
    document.insert("schema".to_owned(), SCHEMA.into());
    for (name, thing) in parts {
        document.insert(name.to_owned(), json(thing)?);
    }
    Ok(Value::Object(document))
}

/// `{"schema": 1, …the fields of row…}`.
pub(crate) fn line<T: Serialize>(row: &T) -> Result<Value, Failure> {
    let mut document = Map::new();
    document.insert("schema".to_owned(), SCHEMA.into());
    match json(row)? {
        Value::Object(fields) => document.extend(fields),
        other => {
            document.insert("value".to_owned(), other);
        }
    }
    Ok(Value::Object(document))
}

fn json<T: Serialize + ?Sized>(thing: &T) -> Result<Value, Failure> {
    serde_json::to_value(thing)
        .map_err(|error| Failure::new(Code::File, format!("cannot be written as JSON: {error}")))
}

/// Rows in aligned columns, two blanks apart, without trailing blanks.
pub(crate) fn table(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Writes to standard output, uncoloured where that is no terminal. A reader that went away is no
/// failure.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    unless_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Whether the reader of standard output is gone.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Whether anybody still reads standard output.
pub(crate) fn is_read() -> bool {
    !UNREAD.load(Relaxed)
}

/// Whether standard output takes more: `false` once its reader is gone, which is no failure.
pub(crate) fn unless_gone(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // Relaxed: a flag alone.
            UNREAD.store(true, Relaxed);
            Ok(false)
        }
        Err(error) => Err(Failure::new(
            Code::File,
            format!("cannot write to standard output: {error}"),
        )),
    }
}

fn unless_closed(written: io::Result<()>) -> Result<(), Failure> {
    unless_gone(written).map(|_| ())
}

/// Says something beside the answer, on standard error.
pub(crate) fn note(text: &str) {
    let dim = anstyle::Style::new().dimmed();
    anstream::eprintln!("{dim}{text}{dim:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["NAME", "N"], ["a", "10"], ["größer", "9"]];
        let text = table(rows.map(|row| row.map(str::to_owned).to_vec()));
        assert_eq!(text, "NAME    N\na       10\ngrößer  9\n");
    }

    #[test]
    fn a_document_says_its_schema() {
        let document = document([("topics", &["a"])]).expect("JSON");
        assert_eq!(document.to_string(), r#"{"schema":1,"topics":["a"]}"#);
    }

    #[test]
    fn a_gone_reader_is_no_failure() {
        assert_eq!(
            unless_gone(Err(io::ErrorKind::BrokenPipe.into())),
            Ok(false)
        );
        assert!(unless_gone(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
