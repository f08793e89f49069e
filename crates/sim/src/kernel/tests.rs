//! Runs are repeatable; processes end and stop.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn run(kernel: &Arc<Kernel>) {
    while kernel.step() != Step::Over {}
}

fn busy(kernel: &Arc<Kernel>, owner: Owner, log: &Arc<Mutex<Vec<(u32, Duration)>>>) {
    kernel.begin(owner);
    for turn in 0..5 {
        let (task, log) = (Arc::clone(kernel), Arc::clone(log));
        kernel.spawn(owner, async move {
            for _ in 0..5 {
                task.sleep_until(task.now() + task.between(MS, MS * 20) * (turn + 1))
                    .await;
                log.lock().push((owner.node, task.now()));
            }
        });
    }
}

#[test]
fn same_seed_gives_the_same_run_and_another_seed_another() {
    let record = |seed| {
        let kernel = Kernel::new(seed);
        let log = Arc::default();
        busy(&kernel, Owner { node: 1, life: 1 }, &log);
        busy(&kernel, Owner { node: 2, life: 1 }, &log);
        run(&kernel);
        let log = log.lock().clone();
        (kernel.hash(), log)
    };
    assert_eq!(record(7), record(7));
    assert_ne!(record(7), record(8));
}

#[test]
fn killed_owner_does_nothing_more_and_a_paused_one_does_it_later() {
    let kernel = Kernel::new(1);
    let log: Arc<Mutex<Vec<(u32, Duration)>>> = Arc::default();
    let (one, two) = (Owner { node: 1, life: 1 }, Owner { node: 2, life: 1 });
    busy(&kernel, one, &log);
    busy(&kernel, two, &log);
    kernel.kill(one);
    kernel.pause(two);
    let resumed = Arc::clone(&kernel);
    kernel.after(Owner::WORLD, MS * 1000, move || resumed.resume(two));
    let told = Arc::clone(&log);
    kernel.after(one, MS, move || told.lock().push((1, MS)));
    run(&kernel);
    let log = log.lock();
    assert_eq!(log.len(), 25, "five tasks of five turns");
    assert!(log.iter().all(|(node, at)| *node == 2 && *at >= MS * 2000));
}

#[test]
fn dropped_sleep_leaves_no_alarm() {
    let kernel = Kernel::new(1);
    let sleeper = Arc::clone(&kernel);
    kernel.spawn(Owner::WORLD, async move {
        let mut long = sleeper.sleep_until(MS * 1_000_000);
        std::future::poll_fn(|cx| {
            assert!(Pin::new(&mut long).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    });
    run(&kernel);
    assert!(kernel.now() < MS * 2000);
}
