//! Reaching the nodes' HTTP side: what is known of replicas is told there.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::failure::{Code, Failure};
use crate::output::Output;

/// Where the nodes' HTTP side is.
#[derive(Args, Clone, Debug)]
pub struct HttpAt {
    /// Where the nodes' HTTP side is; several are separated by commas, and whoever knows most is
    /// believed [default: the nodes of plimsoll dev, or a node on its usual port]
    #[arg(
        long,
        value_name = "URL",
        env = "PLIMSOLL_HTTP",
        default_value = "http://127.0.0.1:9644,http://127.0.0.1:10644,http://127.0.0.1:11644",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub(crate) http: String,
}

/// How to reach the nodes' HTTP side.
#[derive(Args, Clone, Debug)]
pub struct Http {
    #[command(flatten)]
    pub(crate) at: HttpAt,
    /// How long to wait for an answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = crate::verb::seconds)]
    pub(crate) timeout: Duration,
}

/// How to reach a node's HTTP side, and the form of the answer.
#[derive(Args, Clone, Debug)]
pub struct HttpAsk {
    #[command(flatten)]
    pub(crate) http: Http,
    /// The form of the answer: table, wide, json, jsonl, yaml or name
    #[arg(
        short,
        long,
        value_name = "FORM",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub(crate) output: Output,
}

/// The most that an answer may be long: rows of some hundred thousand replicas.
const MAX_BYTES: u64 = 256 << 20;

/// Whether something is asked or ordered.
#[derive(Clone, Copy)]
enum Method {
    Get,
    Post,
}

impl Http {
    /// Asks every node, and tells what the best informed one says: a node that is cut off, or down,
    /// is not to speak for those that are not.
    pub(crate) async fn best(&self, path: &str) -> Result<Value, Failure> {
        self.best_of(&bases(&self.at.http)?, path).await
    }

    /// Asks these nodes, as [`Http::best`] does.
    pub(crate) async fn best_of(&self, bases: &[String], path: &str) -> Result<Value, Failure> {
        let (bases, timeout, path) = (bases.to_vec(), self.timeout, path.to_owned());
        let asked = tokio::task::spawn_blocking(move || best_informed(bases, timeout, &path));
        asked
            .await
            .map_err(|error| Failure::new(Code::Protocol, error.to_string()))?
    }

    /// Asks the first node that answers.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::Get, bases(&self.at.http)?, path).await
    }

    /// Gives an order to the first node that answers.
    pub(crate) async fn post(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::Post, bases(&self.at.http)?, path).await
    }

    /// Gives an order to the first of these nodes that answers.
    pub(crate) async fn post_to(&self, bases: &[String], path: &str) -> Result<Value, Failure> {
        self.ask(Method::Post, bases.to_vec(), path).await
    }

    /// Which node answers where, if one does.
    pub(crate) async fn who(&self) -> Result<Vec<(String, Option<u64>)>, Failure> {
        let (bases, patience) = (bases(&self.at.http)?, self.timeout.min(LATE));
        let asked = tokio::task::spawn_blocking(move || {
            let asked = bases.into_iter().map(|base| {
                std::thread::spawn(move || {
                    let answer = once(&base, patience, Method::Get, "/v1/cluster");
                    let node = answer.ok().and_then(|answer| answer["node_id"].as_u64());
                    (base, node)
                })
            });
            let asked: Vec<_> = asked.collect();
            let told = asked.into_iter().filter_map(|thread| thread.join().ok());
            told.collect()
        });
        asked
            .await
            .map_err(|error| Failure::new(Code::Protocol, error.to_string()))
    }

    async fn ask(&self, method: Method, bases: Vec<String>, path: &str) -> Result<Value, Failure> {
        let (timeout, path) = (self.timeout, path.to_owned());
        // The client blocks; nothing else runs meanwhile.
        let asked = tokio::task::spawn_blocking(move || in_turn(&bases, timeout, method, &path));
        asked
            .await
            .map_err(|error| Failure::new(Code::Protocol, error.to_string()))?
    }
}

fn bases(text: &str) -> Result<Vec<String>, Failure> {
    let given = text.split(',').map(str::trim);
    let given = given.filter(|base| !base.is_empty());
    let bases: Vec<String> = given
        .map(|base| {
            let base = base.trim_end_matches('/');
            match base.contains("://") {
                true => base.to_owned(),
                false => format!("http://{base}"),
            }
        })
        .collect();
    if bases.is_empty() {
        return Err(Failure::usage("--http names no address"));
    }
    Ok(bases)
}

/// Once one node knows, how long the others may take to know better.
const LATE: Duration = Duration::from_secs(1);

fn best_informed(bases: Vec<String>, timeout: Duration, path: &str) -> Result<Value, Failure> {
    let (tell, told) = mpsc::sync_channel(bases.len());
    for (at, base) in bases.into_iter().enumerate() {
        let (tell, path) = (tell.clone(), path.to_owned());
        // Whoever asked may have heard enough.
        std::thread::spawn(move || drop(tell.send((at, once(&base, timeout, Method::Get, &path)))));
    }
    drop(tell);
    let (mut best, mut failed): (Option<Value>, BTreeMap<usize, Failure>) = Default::default();
    // The client's own time limit ends what nobody answers.
    let mut patience = timeout.saturating_add(LATE);
    while let Ok((at, said)) = told.recv_timeout(patience) {
        match said {
            Ok(answer) => {
                if knowledge(&answer).0 {
                    patience = LATE;
                }
                // The first of those that know as much.
                if best
                    .as_ref()
                    .is_none_or(|best| knowledge(best) < knowledge(&answer))
                {
                    best = Some(answer);
                }
            }
            Err(failure) => drop(failed.insert(at, failure)),
        }
    }
    let unreachable = |failure: &Failure| failure.code.exit() == crate::Exit::Unreachable;
    let mut failed: Vec<Failure> = failed.into_values().collect();
    // A refusal tells more than silence.
    failed.sort_by_key(unreachable);
    match (best, failed.into_iter().next()) {
        (Some(best), _) => Ok(best),
        (None, Some(failure)) => Err(failure),
        (None, None) => Err(Failure::new(Code::TimedOut, "no node answered in time")),
    }
}

/// How much whoever gave an answer knows: whether it has a verdict at all, how many nodes it hears,
/// how new its metadata is.
fn knowledge(answer: &Value) -> (bool, u64, u64) {
    let number = |name: &str| answer[name].as_u64().unwrap_or(0);
    let knows = answer["verdict"]
        .as_str()
        .is_some_and(|word| word != "unknown");
    (knows, number("nodes_answering"), number("metadata_version"))
}

fn in_turn(
    bases: &[String],
    timeout: Duration,
    method: Method,
    path: &str,
) -> Result<Value, Failure> {
    let mut failed = None;
    for base in bases {
        match once(base, timeout, method, path) {
            Ok(answer) => return Ok(answer),
            // Another node may be up, or further.
            Err(failure) if failure.code.exit() == crate::Exit::Unreachable => {
                failed = failed.or(Some(failure));
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(failed.unwrap_or_else(|| Failure::usage("--http names no address")))
}

fn once(base: &str, timeout: Duration, method: Method, path: &str) -> Result<Value, Failure> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .build()
        .into();
    let url = format!("{base}{path}");
    let asked = match method {
        Method::Get => agent.get(&url).call(),
        Method::Post => agent
            .post(&url)
            .header("X-Plimsoll-Request", "1")
            .send_empty(),
    };
    let mut response = asked.map_err(|error| unreachable(base, &error))?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(MAX_BYTES);
    let text = body
        .read_to_string()
        .map_err(|error| unreachable(base, &error))?;
    let answer: Option<Value> = serde_json::from_str(&text).ok();
    let Some(answer) = answer.filter(|answer| answer["schema"] == 1) else {
        let what = format!("{base} is not the HTTP side of a node (status {status} for {path})");
        return Err(Failure::new(Code::Protocol, what));
    };
    if answer["error"].is_object() {
        return Err(refusal(base, status, &answer["error"]));
    }
    Ok(answer)
}

fn unreachable(base: &str, error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Failure::usage(format!("{base} is not an address such as http://log1:9644"))
        }
        ureq::Error::Timeout(_) => Failure::new(
            Code::TimedOut,
            format!("{base} did not answer in time. --timeout gives it longer"),
        ),
        error => Failure::new(
            Code::Unreachable,
            format!(
                "{base} does not answer: {error}. Is a node running (plimsoll dev, plimsoll \
                 serve), and is --http right?"
            ),
        ),
    }
}

/// What a node said instead of an answer.
fn refusal(base: &str, status: u16, error: &Value) -> Failure {
    let said = error["message"].as_str().unwrap_or("no reason given");
    let code = match status {
        404 => Code::NotKnown,
        409 => Code::Refused,
        400 | 405 => Code::Usage,
        503 => Code::Unreachable,
        _ => Code::Protocol,
    };
    Failure::new(code, format!("{base}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_leave_the_scheme_out() {
        let bases = bases("http://a:1/, b:2 ,").expect("two");
        assert_eq!(bases, ["http://a:1", "http://b:2"]);
        assert!(super::bases(" , ").is_err());
    }

    #[test]
    fn refusals_have_the_exit_code_that_scripts_expect() {
        let error = serde_json::json!({"code": "not_found", "message": "there is no node 9"});
        let failure = refusal("http://a", 404, &error);
        assert_eq!(failure.code.exit(), crate::Exit::NotFound);
        assert_eq!(failure.message, "http://a: there is no node 9");
        assert_eq!(refusal("a", 409, &error).code.exit(), crate::Exit::Failed);
        assert_eq!(
            refusal("a", 503, &error).code.exit(),
            crate::Exit::Unreachable
        );
    }
}
