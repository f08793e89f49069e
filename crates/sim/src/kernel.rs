//! Time, tasks and chance: one thread, and one seed that decides everything.
//!
//! A task is a future that belongs to somebody ([`Owner`]): a process that is killed takes its
//! tasks with it, one that is paused keeps them unpolled while time goes on. Which of several
//! tasks that could run runs next is drawn. Time moves only when nothing can run.
//!
//! Always: the same seed and the same spawns give the same run, poll by poll; [`Kernel::hash`] is
//! what two runs are compared by, and [`Trace`] tells where they part.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;

use crate::trace::{Trace, Turn};

/// Whose a task is: a node's process in one of its lives, or the world's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// The node, or 0 for the world.
    pub(crate) node: u32,
    /// Which of its processes.
    pub(crate) life: u32,
}

impl Owner {
    /// Clients, faults and observers: never killed.
    pub(crate) const WORLD: Self = Self { node: 0, life: 0 };
}

/// What a [`Kernel::step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A task of this owner ran.
    Ran(Owner),
    /// Time moved on.
    Waited,
    /// Nothing is left that could ever run.
    Over,
}

thread_local! {
    /// What runs on this thread.
    static MOMENT: Cell<(Duration, u32)> = const { Cell::new((Duration::ZERO, 0)) };
}

/// The simulated time, and the node whose code runs on this thread now: for whoever writes down
/// what it says. Node 0 is the world.
#[must_use]
pub fn moment() -> (Duration, u32) {
    MOMENT.get()
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Deed = Box<dyn FnOnce() + Send>;

/// Polls at one moment of time beyond which something turns in circles.
const MAX_POLLS_AT_ONCE: u64 = 2_000_000;

/// See the module.
pub(crate) struct Kernel {
    state: Mutex<State>,
}

struct State {
    now: Duration,
    rng: Rng,
    next_id: u64,
    tasks: BTreeMap<u64, Task>,
    /// Tasks that could run, in the order in which they were woken.
    ready: Vec<u64>,
    /// By time, then by the order in which they were set.
    alarms: BTreeMap<(Duration, u64), Alarm>,
    alive: BTreeSet<Owner>,
    paused: BTreeMap<Owner, Held>,
    polls_now: u64,
    hash: u64,
    draws: u64,
    trace: Option<Trace>,
}

struct Task {
    owner: Owner,
    /// Who made it.
    place: &'static Location<'static>,
    /// Not there while it is polled.
    work: Option<Work>,
    woken: bool,
    waker: Waker,
}

enum Alarm {
    Wake(Waker),
    Do(Owner, Deed, &'static Location<'static>),
}

/// What would have run in a process that is paused.
#[derive(Default)]
struct Held {
    tasks: Vec<u64>,
    deeds: Vec<Deed>,
}

struct TaskWaker {
    kernel: Weak<Kernel>,
    id: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if let Some(kernel) = self.kernel.upgrade() {
            kernel.state.lock().ready_task(self.id);
        }
    }
}

impl State {
    fn ready_task(&mut self, id: u64) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut task.woken, true) {
            return;
        }
        match self.paused.get_mut(&task.owner) {
            Some(held) => held.tasks.push(id),
            None => self.ready.push(id),
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn mix(&mut self, value: u64) {
        // FNV-1a over 64-bit words: cheap, and any difference stays.
        self.hash = (self.hash ^ value).wrapping_mul(0x0100_0000_01b3);
    }

    fn begin_turn(&mut self, owner: Owner, id: u64, place: &'static Location<'static>) {
        self.mix(u64::try_from(self.now.as_micros()).unwrap_or(u64::MAX));
        self.mix(id);
        MOMENT.set((self.now, owner.node));
        let (at, draws) = (self.now, self.draws);
        if let Some(trace) = &mut self.trace {
            trace.push(Turn {
                at,
                owner,
                id,
                draws,
                place,
            });
        }
    }

    fn take_ready(&mut self) -> Option<u64> {
        if self.ready.is_empty() {
            return None;
        }
        // Mostly in order, as a runtime does; sometimes whichever.
        self.draws += 1;
        let at = if self.rng.u8(..) < 64 {
            self.rng.usize(..self.ready.len())
        } else {
            0
        };
        Some(self.ready.remove(at))
    }
}

impl Kernel {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                now: Duration::from_secs(1),
                rng: Rng::with_seed(seed),
                next_id: 0,
                tasks: BTreeMap::new(),
                ready: Vec::new(),
                alarms: BTreeMap::new(),
                alive: BTreeSet::from([Owner::WORLD]),
                paused: BTreeMap::new(),
                polls_now: 0,
                hash: seed ^ 0xcbf2_9ce4_8422_2325,
                draws: 0,
                trace: None,
            }),
        })
    }

    /// Time since the world began.
    pub(crate) fn now(&self) -> Duration {
        self.state.lock().now
    }

    /// What happened so far, as one number.
    pub(crate) fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    /// Keeps what happens from here on.
    pub(crate) fn keep_trace(&self) {
        self.state.lock().trace = Some(Trace::default());
    }

    /// What was kept.
    pub(crate) fn take_trace(&self) -> Trace {
        self.state.lock().trace.take().unwrap_or_default()
    }

    /// From here on `owner` may have tasks.
    pub(crate) fn begin(&self, owner: Owner) {
        self.state.lock().alive.insert(owner);
    }

    pub(crate) fn is_alive(&self, owner: Owner) -> bool {
        self.state.lock().alive.contains(&owner)
    }

    /// Runs `work` as `owner`'s; nothing happens if that is dead.
    #[track_caller]
    pub(crate) fn spawn(
        self: &Arc<Self>,
        owner: Owner,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let work: Work = Box::pin(work);
        let mut state = self.state.lock();
        if !state.alive.contains(&owner) {
            drop(state);
            return;
        }
        let id = state.next_id();
        let waker = Waker::from(Arc::new(TaskWaker {
            kernel: Arc::downgrade(self),
            id,
        }));
        let task = Task {
            owner,
            place: Location::caller(),
            work: Some(work),
            woken: false,
            waker,
        };
        state.tasks.insert(id, task);
        state.ready_task(id);
    }

    /// Does something as `owner` after a while, if that is alive then.
    #[track_caller]
    pub(crate) fn after(&self, owner: Owner, wait: Duration, deed: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock();
        let at = state.now + wait;
        let id = state.next_id();
        state.alarms.insert(
            (at, id),
            Alarm::Do(owner, Box::new(deed), Location::caller()),
        );
    }

    /// Ends a process: its tasks and what it was to do are gone.
    pub(crate) fn kill(&self, owner: Owner) {
        let mut state = self.state.lock();
        state.alive.remove(&owner);
        let held = state.paused.remove(&owner);
        let dead: Vec<u64> = state
            .tasks
            .iter()
            .filter(|(_, task)| task.owner == owner)
            .map(|(id, _)| *id)
            .collect();
        let tasks: Vec<_> = dead
            .iter()
            .filter_map(|id| state.tasks.remove(id))
            .collect();
        state.ready.retain(|id| !dead.contains(id));
        let deeds: Vec<_> = state
            .alarms
            .extract_if(
                ..,
                |_, alarm| matches!(alarm, Alarm::Do(whose, ..) if *whose == owner),
            )
            .collect();
        drop(state);
        // Dropping runs code of the process, which may wake others.
        drop((tasks, held, deeds));
    }

    /// Stops a process without ending it.
    pub(crate) fn pause(&self, owner: Owner) {
        let mut state = self.state.lock();
        let of_owner =
            |state: &State, id: &u64| state.tasks.get(id).is_some_and(|task| task.owner == owner);
        let (held, ready): (Vec<u64>, Vec<u64>) = std::mem::take(&mut state.ready)
            .into_iter()
            .partition(|id| of_owner(&state, id));
        state.ready = ready;
        state.paused.entry(owner).or_default().tasks.extend(held);
    }

    /// Lets a process that was stopped go on.
    pub(crate) fn resume(&self, owner: Owner) {
        let held = {
            let mut state = self.state.lock();
            let Some(mut held) = state.paused.remove(&owner) else {
                return;
            };
            state.ready.append(&mut held.tasks);
            held.deeds
        };
        for deed in held {
            deed();
        }
    }

    pub(crate) fn is_paused(&self, owner: Owner) -> bool {
        self.state.lock().paused.contains_key(&owner)
    }

    /// Completes at `at`, or at once if that is past.
    pub(crate) fn sleep_until(self: &Arc<Self>, at: Duration) -> Sleep {
        Sleep {
            kernel: Arc::clone(self),
            at,
            alarm: None,
        }
    }

    /// Completes after a while.
    pub(crate) fn sleep(self: &Arc<Self>, wait: Duration) -> Sleep {
        self.sleep_until(self.now() + wait)
    }

    /// Something random; everything random comes from here.
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        let mut state = self.state.lock();
        state.draws += 1;
        draw(&mut state.rng)
    }

    /// True once in `many` times.
    pub(crate) fn one_in(&self, many: u32) -> bool {
        self.draw(|rng| rng.u32(..many.max(1)) == 0)
    }

    /// A time between two.
    pub(crate) fn between(&self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.draw(|rng| rng.u64(..=span)))
    }

    /// Ends everything: what is left holds the kernel, and the kernel holds it.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.alive.clear();
        let tasks = std::mem::take(&mut state.tasks);
        let alarms = std::mem::take(&mut state.alarms);
        let held = std::mem::take(&mut state.paused);
        state.ready.clear();
        drop(state);
        drop((tasks, alarms, held));
    }

    /// Lets one task run, or time move to the next alarm.
    pub(crate) fn step(&self) -> Step {
        let mut state = self.state.lock();
        if let Some(id) = state.take_ready() {
            drop(state);
            return self.poll(id);
        }
        let Some(((at, id), alarm)) = state.alarms.pop_first() else {
            return Step::Over;
        };
        if at > state.now {
            state.now = at;
            state.polls_now = 0;
        }
        match alarm {
            Alarm::Wake(waker) => {
                drop(state);
                waker.wake();
            }
            Alarm::Do(owner, deed, place) => {
                if let Some(held) = state.paused.get_mut(&owner) {
                    held.deeds.push(deed);
                } else if state.alive.contains(&owner) {
                    state.begin_turn(owner, id, place);
                    drop(state);
                    deed();
                }
            }
        }
        Step::Waited
    }

    fn poll(&self, id: u64) -> Step {
        let mut state = self.state.lock();
        let Some(task) = state.tasks.get_mut(&id) else {
            return Step::Waited;
        };
        task.woken = false;
        let (owner, place, waker) = (task.owner, task.place, task.waker.clone());
        let Some(mut work) = task.work.take() else {
            return Step::Waited;
        };
        state.polls_now += 1;
        assert!(
            state.polls_now < MAX_POLLS_AT_ONCE,
            "tasks of {owner:?} turn in circles"
        );
        state.begin_turn(owner, id, place);
        drop(state);
        let done = work
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        let mut state = self.state.lock();
        let kept = match state.tasks.get_mut(&id) {
            Some(task) if !done => {
                task.work = Some(work);
                None
            }
            Some(_) => {
                state.ready.retain(|ready| *ready != id);
                Some((state.tasks.remove(&id), work))
            }
            // Killed by itself.
            None => Some((None, work)),
        };
        drop(state);
        drop(kept);
        Step::Ran(owner)
    }
}

/// Completes at a moment.
pub(crate) struct Sleep {
    kernel: Arc<Kernel>,
    at: Duration,
    alarm: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let kernel = Arc::clone(&self.kernel);
        let mut state = kernel.state.lock();
        if let Some(set) = self.alarm.take() {
            state.alarms.remove(&set);
        }
        if state.now >= self.at {
            return Poll::Ready(());
        }
        let key = (self.at, state.next_id());
        state.alarms.insert(key, Alarm::Wake(cx.waker().clone()));
        self.alarm = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(set) = self.alarm.take() {
            let alarm = self.kernel.state.lock().alarms.remove(&set);
            drop(alarm);
        }
    }
}

#[cfg(test)]
mod tests;
