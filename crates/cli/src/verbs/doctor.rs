//! `plimsoll doctor`, `plimsoll top` and `plimsoll explain`: what is wrong, and what it means.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use plimsoll_health::{Cause, Level, explain as explain_cause};
use serde_json::Value;

use crate::failure::{Code, Exit, Failure};
use crate::operate::{Doctor, Explain, Top};
use crate::output::{Output, is_read, print, table};
use crate::repeat::until;
use crate::verbs::words::{number, seconds, text};

pub(super) async fn doctor(args: Doctor) -> Result<Exit, Failure> {
    let http = &args.ask.http;
    let mut answer = Value::Null;
    if let Some(within) = args.waiting.within(http.timeout) {
        let well = until(within, async || {
            answer = http.best("/v1/doctor").await?;
            let verdict = text(&answer, "verdict");
            Ok(match verdict == "ok" {
                true => Ok(()),
                false => Err(format!("the cluster is still {verdict}")),
            })
        });
        let well = well.await;
        if !answer.is_null() {
            show(args.ask.output, &answer)?;
        }
        well?;
    } else {
        answer = http.best("/v1/doctor").await?;
        show(args.ask.output, &answer)?;
    }
    exit(&answer)
}

fn show(output: Output, answer: &Value) -> Result<(), Failure> {
    let codes = || {
        let problems = list(answer, "problems");
        let codes = problems.iter().map(|problem| text(problem, "code") + "\n");
        codes.collect()
    };
    output.answer(answer, codes, || told(answer))
}

/// The exit code that says how the cluster does.
fn exit(answer: &Value) -> Result<Exit, Failure> {
    match answer["verdict"].as_str() {
        Some("ok") => Ok(Exit::Ok),
        Some("degraded") => Ok(Exit::Degraded),
        Some("unhealthy") => Ok(Exit::Unhealthy),
        Some("unknown") => Ok(Exit::Unreachable),
        _ => Err(Failure::new(Code::Protocol, "the answer has no verdict")),
    }
}

pub(super) fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

/// `● ok`, with the verdict's colour.
pub(super) fn headline(verdict: &str) -> String {
    use anstyle::AnsiColor::{Green, Red, Yellow};
    let (symbol, colour) = match verdict {
        word if word == Level::Ok.as_str() => ("●", Green),
        word if word == Level::Degraded.as_str() => ("◐", Yellow),
        word if word == Level::Unhealthy.as_str() => ("○", Red),
        _ => ("?", Yellow),
    };
    let colour = colour.on_default().bold();
    format!("{colour}{symbol} {verdict}{colour:#}")
}

fn told(answer: &Value) -> String {
    let mut out = format!(
        "{}  {}\n",
        headline(&text(answer, "verdict")),
        text(answer, "summary")
    );
    let problems = list(answer, "problems");
    if problems.is_empty() {
        for reason in list(answer, "reasons") {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}", reason.as_str().unwrap_or_default());
        }
    }
    for problem in problems {
        let bold = anstyle::Style::new().bold();
        let (code, name) = (text(problem, "code"), text(problem, "name"));
        let what = text(problem, "what");
        let _ = writeln!(out, "\n{bold}{code} {name}{bold:#}  {what}");
        // What is due at once needs no time.
        let due = problem["next_attempt"]
            .as_f64()
            .is_some_and(|next| next < 0.05);
        let next = seconds(problem, "next_attempt").filter(|_| !due);
        let action = match (text(problem, "action"), next) {
            (action, Some(next)) if !action.is_empty() => format!("{action}; next in {next}"),
            (action, _) => action,
        };
        let estimate = seconds(problem, "estimate").map(|time| format!("in sync in about {time}"));
        let parts = [
            ("evidence", text(problem, "evidence")),
            ("action", action),
            ("estimate", estimate.unwrap_or_default()),
            ("advice", text(problem, "advice")),
        ];
        for (label, words) in parts.iter().filter(|(_, words)| !words.is_empty()) {
            let _ = writeln!(out, "  {label:<9} {words}");
        }
    }
    out
}

pub(super) async fn top(args: Top) -> Result<Exit, Failure> {
    let mut left = args.count;
    loop {
        let status = args.http.best("/v1/status").await?;
        let replicas = args.http.best("/v1/replicas?unhealthy=1").await?;
        let clear = match std::io::stdout().is_terminal() {
            true => "\x1b[2J\x1b[H",
            false => "",
        };
        print(&format!("{clear}{}", look(&status, &replicas)))?;
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) || !is_read() {
            return exit(&status);
        }
        tokio::time::sleep(args.every).await;
    }
}

fn look(status: &Value, replicas: &Value) -> String {
    let mut out = format!(
        "{}  cluster {}  partitions {}  replicas {} ({} not in sync)\n\n",
        headline(&text(status, "verdict")),
        text(status, "cluster_id"),
        number(status, "partitions"),
        number(status, "replicas"),
        number(status, "replicas_out_of_sync"),
    );
    let nodes = list(status, "nodes").iter().map(super::node::cells);
    let heading = super::node::HEADINGS.map(str::to_owned).to_vec();
    out += &table(std::iter::once(heading).chain(nodes.map(|mut cells| {
        cells.truncate(super::node::HEADINGS.len());
        cells
    })));
    let ill = list(replicas, "replicas");
    if !ill.is_empty() {
        let heading = super::replica::HEADINGS.map(str::to_owned).to_vec();
        let rows = ill.iter().take(20).map(|row| {
            let mut cells = super::replica::cells(row);
            cells.truncate(super::replica::HEADINGS.len());
            cells
        });
        let _ = write!(out, "\n{}", table(std::iter::once(heading).chain(rows)));
        if ill.len() > 20 {
            let _ = writeln!(out, "… and {} more", ill.len() - 20);
        }
    }
    out
}

/// `plimsoll explain`
pub(super) fn explain(args: &Explain) -> Result<Exit, Failure> {
    let Some(code) = &args.code else {
        let causes = Cause::ALL.iter().map(|cause| {
            let words = cause.explanation();
            vec![words.code.to_owned(), words.name.to_owned()]
        });
        let codes = Code::ALL
            .iter()
            .map(|code| vec![code.to_string(), code.meaning().to_owned()]);
        print(&table(causes.chain(codes)))?;
        return Ok(Exit::Ok);
    };
    if let Some(words) = explain_cause(code) {
        print(&format!("{words}\n"))?;
        return Ok(Exit::Ok);
    }
    let mut known = Code::ALL.iter();
    let Some(known) = known.find(|known| known.to_string().eq_ignore_ascii_case(code.trim()))
    else {
        let what = format!("there is no code {code}. plimsoll explain lists them all");
        return Err(Failure::new(Code::NotKnown, what));
    };
    print(&format!(
        "{known}\n\nWhat it means: {}\n\nA command that fails so ends with exit code {}.\n",
        known.meaning(),
        known.exit() as u8
    ))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_healthy_cluster_is_a_line() {
        let answer = json!({
            "schema": 1, "verdict": "ok", "reasons": [], "age_seconds": 0.1, "problems": [],
            "summary": "3 of 3 nodes answer, 2 partitions, 6 of 6 replicas in sync",
        });
        assert_eq!(
            plain(&told(&answer)),
            "● ok  3 of 3 nodes answer, 2 partitions, 6 of 6 replicas in sync\n"
        );
        assert_eq!(exit(&answer), Ok(Exit::Ok));
    }

    #[test]
    fn a_problem_tells_everything_that_is_known() {
        let answer = json!({
            "verdict": "degraded", "reasons": ["a"], "summary": "2 of 3 nodes answer",
            "problems": [{
                "code": "R002", "name": "peer-unreachable", "what": "hello/0 on node 3 is offline",
                "evidence": "no connection for 4.0 s", "action": "connecting again",
                "next_attempt": 0.8, "estimate": null, "advice": "See whether the node runs.",
            }],
        });
        assert_eq!(
            plain(&told(&answer)),
            "\
◐ degraded  2 of 3 nodes answer

R002 peer-unreachable  hello/0 on node 3 is offline
  evidence  no connection for 4.0 s
  action    connecting again; next in 0.8 s
  advice    See whether the node runs.
"
        );
        assert_eq!(exit(&answer), Ok(Exit::Degraded));
    }

    #[test]
    fn reasons_are_told_where_no_problem_tells_them() {
        let answer = json!({
            "verdict": "unknown", "reasons": ["the newest facts are 16 s old"],
            "summary": "1 of 3 nodes answer", "problems": [],
        });
        assert!(plain(&told(&answer)).ends_with("the newest facts are 16 s old\n"));
        assert_eq!(exit(&answer), Ok(Exit::Unreachable));
        assert_eq!(exit(&json!({"verdict": "unhealthy"})), Ok(Exit::Unhealthy));
        assert!(exit(&json!({})).is_err());
    }

    #[test]
    fn every_code_is_explained() {
        let ask = |code: &str| {
            let code = Some(code.to_owned());
            explain(&Explain { code })
        };
        assert_eq!(ask("R002"), Ok(Exit::Ok));
        assert_eq!(ask("p0307"), Ok(Exit::Ok));
        let unknown = ask("X1").map_err(|failure| failure.code.exit());
        assert_eq!(unknown, Err(Exit::NotFound));
    }
}
