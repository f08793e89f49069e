//! Prints `docs/causes.md`.

#[allow(clippy::print_stdout, reason = "printing is what it is for")]
fn main() {
    print!("{}", plimsoll_health::causes_page());
}
