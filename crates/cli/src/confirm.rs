//! Asking before something is destroyed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::failure::{Code, Failure};
use crate::output::note;
use crate::verb::Confirm;

/// Shows the plan, and tells whether to carry it out. Off a terminal nobody can answer, so it is
/// refused unless `--yes` was given.
pub(crate) fn confirmed(plan: &str, confirm: Confirm) -> Result<bool, Failure> {
    if confirm.dry_run {
        note(plan.trim_end());
        note("Nothing was done (--dry-run).");
        return Ok(false);
    }
    if confirm.yes {
        return Ok(true);
    }
    note(plan.trim_end());
    if !std::io::stdin().is_terminal() {
        let what = "this cannot be undone, and there is no terminal to ask on. --yes confirms it";
        return Err(Failure::new(Code::Unconfirmed, what));
    }
    anstream::eprint!("This cannot be undone. Go on? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    let agreed = matches!(answer.trim(), "y" | "Y" | "yes");
    if read.is_ok() && agreed {
        return Ok(true);
    }
    Err(Failure::new(
        Code::Unconfirmed,
        "not confirmed; nothing was done",
    ))
}
