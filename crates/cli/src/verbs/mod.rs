//! What each verb does.

mod chaos;
mod consume;
mod doctor;
mod group;
mod node;
mod produce;
mod progress;
mod relocate;
mod replica;
mod status;
mod topic;
mod words;

use std::time::Duration;

use crate::failure::{Code, Exit, Failure};
use crate::operate::{Node, Partition, Replica};
use crate::repeat::watch;
use crate::verb::{Group, Topic, Verb};

/// Does what was asked, on a runtime of its own, and returns the exit code to end with.
///
/// # Errors
/// What failed, with the exit code to end with.
pub fn run(verb: Verb) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::File, format!("cannot start: {error}")))?;
    let done = runtime.block_on(async {
        match watched(&verb) {
            Some(every) => watch(every, async || dispatch(verb.clone()).await).await,
            None => dispatch(verb).await,
        }
    });
    // A thread may still wait for standard input; the process ends without it.
    runtime.shutdown_background();
    done
}

/// Whether it is to be shown again and again.
fn watched(verb: &Verb) -> Option<Duration> {
    let watching = match verb {
        Verb::Topic(Topic::List(args)) => args.watching,
        Verb::Topic(Topic::Describe(args)) => args.watching,
        Verb::Group(Group::List(args)) => args.watching,
        Verb::Group(Group::Describe(args)) => args.watching,
        Verb::Status(args) => args.watching,
        Verb::Doctor(args) => args.watching,
        Verb::Replica(Replica::List(args)) => args.watching,
        Verb::Node(Node::List(args)) => args.watching,
        _ => return None,
    };
    watching.watch
}

async fn dispatch(verb: Verb) -> Result<Exit, Failure> {
    let done = match verb {
        Verb::Topic(Topic::Create(create)) => topic::create(create).await,
        Verb::Topic(Topic::List(list)) => topic::list(list).await,
        Verb::Topic(Topic::Describe(describe)) => topic::describe(describe).await,
        Verb::Topic(Topic::Set(set)) => topic::set(set).await,
        Verb::Topic(Topic::Delete(delete)) => topic::delete(delete).await,
        Verb::Produce(produce) => produce::produce(produce).await,
        Verb::Consume(consume) => consume::consume(consume).await,
        Verb::Group(Group::List(list)) => group::list(list).await,
        Verb::Group(Group::Describe(describe)) => group::describe(describe).await,
        Verb::Status(status) => return status::status(status).await,
        Verb::Doctor(args) => return doctor::doctor(args).await,
        Verb::Top(args) => return doctor::top(args).await,
        Verb::Explain(args) => return doctor::explain(&args),
        Verb::Replica(Replica::List(args)) => return replica::list(args).await,
        Verb::Partition(Partition::History(args)) => return replica::history(args).await,
        Verb::Partition(Partition::Move(args)) => return relocate::reassign(args).await,
        Verb::Node(args) => return node::node(args).await,
        Verb::Chaos(args) => return chaos::chaos(args).await,
    };
    done.map(|()| Exit::Ok)
}

/// Does `each` for every name, tells all failures but the last, and fails with that.
async fn for_each<T>(
    names: impl IntoIterator<Item = T>,
    mut each: impl AsyncFnMut(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut failed: Option<Failure> = None;
    for name in names {
        if let Err(failure) = each(name).await
            && let Some(earlier) = failed.replace(failure)
        {
            earlier.print();
        }
    }
    failed.map_or(Ok(()), Err)
}
