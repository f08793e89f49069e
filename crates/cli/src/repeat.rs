//! Doing something again: `--watch` shows it every few seconds, `--wait` asks until it is so.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use crate::failure::{Code, Exit, Failure};
use crate::output::{is_read, print};
use crate::verb::seconds;

/// Whether to show it again and again.
#[derive(Args, Clone, Copy, Debug)]
pub struct Watching {
    /// Show it again every so many seconds [2 if left out], until Ctrl-C
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = seconds
    )]
    pub(crate) watch: Option<Duration>,
}

/// Whether to wait until it is so.
#[derive(Args, Clone, Copy, Debug)]
pub struct Waiting {
    /// Wait until it is so, for so long at most: 90, 90s, 5m [--timeout if that is given, or 60s]
    #[arg(
        long,
        value_name = "SPAN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0.001",
        value_parser = seconds
    )]
    wait: Option<Duration>,
}

/// What `--timeout` is if nobody says.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long is waited if nobody says.
const WAIT: Duration = Duration::from_secs(60);
/// What stands for "nobody says".
const UNSAID: Duration = Duration::from_millis(1);
/// Between two questions.
const AGAIN: Duration = Duration::from_millis(200);

impl Waiting {
    /// For how long to wait, if at all, where an answer may take `timeout`.
    pub(crate) fn within(self, timeout: Duration) -> Option<Duration> {
        self.wait.map(|wait| match wait {
            UNSAID if timeout == DEFAULT_TIMEOUT => WAIT,
            UNSAID => timeout,
            wait => wait,
        })
    }
}

/// Does it again and again. What fails may pass, but for what was called wrongly.
pub(crate) async fn watch(
    every: Duration,
    mut show: impl AsyncFnMut() -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    loop {
        if std::io::stdout().is_terminal() {
            print("\x1b[2J\x1b[H")?;
        }
        let shown = show().await;
        if !is_read() {
            return shown;
        }
        match shown {
            Ok(_) => {}
            Err(failure) if failure.code.exit() == Exit::Unreachable => failure.print(),
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(every).await;
    }
}

/// Asks until there is an answer, and says what is missing if there is none in time. What is asked
/// may be out of reach meanwhile.
pub(crate) async fn until<T>(
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<Result<T, String>, Failure>,
) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        let missing = match ask().await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(missing)) => Failure::new(
                Code::TimedOut,
                format!(
                    "{missing} after {} s. --wait=SPAN waits longer",
                    within.as_secs_f64()
                ),
            ),
            Err(failure) if failure.code.exit() == Exit::Unreachable => failure,
            Err(failure) => return Err(failure),
        };
        if begun.elapsed() + AGAIN > within {
            return Err(missing);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_as_long_as_said() {
        let second = Duration::from_secs(1);
        let within = |wait| Waiting { wait }.within(100 * second);
        assert_eq!(within(None), None);
        assert_eq!(within(Some(5 * second)), Some(5 * second));
        assert_eq!(within(Some(UNSAID)), Some(100 * second));
        let wait = Some(UNSAID);
        assert_eq!(Waiting { wait }.within(DEFAULT_TIMEOUT), Some(WAIT));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_true_is_waited_for_and_what_does_not_is_named() {
        let mut asked = 0;
        let found = until(Duration::from_secs(60), async || {
            asked += 1;
            match asked {
                1 => Err(Failure::new(Code::Unreachable, "nobody")),
                2 => Ok(Err("not yet".to_owned())),
                _ => Ok(Ok(7)),
            }
        });
        assert_eq!(found.await, Ok(7));
        let never = async || Ok::<Result<(), String>, Failure>(Err("still so".to_owned()));
        let failure = until(Duration::from_secs(3), never).await;
        let failure = failure.expect_err("never");
        assert_eq!(failure.code, Code::TimedOut);
        assert!(failure.message.starts_with("still so after 3 s"));
        let wrong = async || Err::<Result<(), String>, _>(Failure::usage("no"));
        let failure = until(Duration::from_secs(3), wrong).await;
        assert_eq!(failure.expect_err("wrong").code, Code::Usage);
    }
}
