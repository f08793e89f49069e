//! What the command line says, word for word: help that teaches, and mistakes in one line.
//!
//! After a wanted change: `TRYCMD=overwrite cargo test -p plimsoll --test command_line`.

#[test]
fn help_and_mistakes_read_as_written_down() {
    let cases = trycmd::TestCases::new();
    cases.env("NO_COLOR", "1").env("COLUMNS", "100");
    // None of these starts a node; one that does by mistake must not run for ever.
    cases.timeout(std::time::Duration::from_secs(60));
    cases.case("tests/command_line/*.trycmd");
}
