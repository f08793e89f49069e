//! Prints the table of APIs and versions, or with `--write` puts it into `docs/wire.md`.

use std::path::Path;

const BEGIN: &str = "<!-- table: begin -->\n";
const END: &str = "<!-- table: end -->";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let table = plimsoll_wire::table();
    if std::env::args().nth(1).as_deref() != Some("--write") {
        print!("{table}");
        return Ok(());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/wire.md");
    let page = std::fs::read_to_string(&path)?;
    let (before, rest) = page
        .split_once(BEGIN)
        .ok_or("docs/wire.md has no begin marker")?;
    let (_, after) = rest
        .split_once(END)
        .ok_or("docs/wire.md has no end marker")?;
    std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}"))?;
    Ok(())
}
