//! Who is the controller, and who may think so.

use plimsoll_broker::Trust;

use crate::create;
use crate::world::{World, id};

#[test]
fn a_controller_that_is_cut_off_stops_judging_and_trusting_itself() {
    let world = World::of(3);
    assert_eq!(create(&world, id(1), "orders"), 0);
    let old = world.broker(id(1)).active_controller().unwrap();
    world.cut(old);
    let broker = world.broker(old);
    world.until("another controller is known", |_| {
        let others = [1, 2, 3].map(id).into_iter().filter(|node| *node != old);
        let mut known = others.map(|node| world.broker(node).active_controller());
        known.all(|known| known.is_some_and(|known| known != old))
    });
    world.until("the old one trusts itself no more", |_| {
        broker.active_controller().is_none() && broker.trust() == Trust::None
    });
    world.heal(old);
    world.until("it is heard again", |_| broker.trust() == Trust::Full);
}
