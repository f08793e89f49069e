//! The table of APIs and versions, for the documentation.

use std::fmt::Write as _;

use crate::ApiKey;

/// The served APIs as a Markdown table, one line each, by number.
#[must_use]
pub fn table() -> String {
    let mut table = String::from(
        "| key | API | served | advertised | flexible from |\n| --: | --- | --- | --- | --- |\n",
    );
    for api in ApiKey::ALL {
        let span = |versions: std::ops::RangeInclusive<i16>| match versions.into_inner() {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first} to {last}"),
        };
        let flexible = api
            .flexible_from()
            .map_or("never".to_owned(), |from| from.to_string());
        let (served, advertised) = (span(api.served()), span(api.advertised()));
        writeln!(
            table,
            "| {} | {api} | {served} | {advertised} | {flexible} |",
            api.code()
        )
        .expect("writing to a string does not fail");
    }
    table
}
