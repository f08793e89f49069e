//! The page on the protocol shows what the code serves.

use std::path::Path;

#[test]
fn the_table_in_the_docs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/wire.md");
    let page = std::fs::read_to_string(path).expect("docs/wire.md");
    let (_, rest) = page
        .split_once("<!-- table: begin -->\n")
        .expect("a begin marker");
    let (shown, _) = rest
        .split_once("<!-- table: end -->")
        .expect("an end marker");
    assert!(
        shown == plimsoll_wire::table(),
        "docs/wire.md is out of date; run `cargo run -p plimsoll-wire --example wire_table -- --write`",
    );
}
