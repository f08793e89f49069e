//! Offsets that nobody uses any more end after their retention, and groups with them.

use super::Coordinator;
use crate::group::{Group, GroupState};
use crate::writes::Context;
use crate::{Actions, Now};

impl Coordinator {
    pub(super) fn expire_offsets(&mut self, now: Now, actions: &mut Actions) {
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            if self.writes.is_full(&self.config) {
                return; // The log is behind; the rest expires at a later check.
            }
            self.on_group(now, actions, &id, Group::expire_offsets);
        }
    }
}

impl Group {
    fn expire_offsets(&mut self, cx: &mut Context<'_>) {
        let retention = cx.config.offsets_retention;
        let gone = self.offsets.expired(self.expiry(), retention, cx.now.wall);
        let all = gone.len() == self.offsets.count_all();
        if self.state == GroupState::Empty && all && !self.is_promised() {
            // What is left of it is the memory of a generation; nobody needs that.
            self.delete(cx);
        } else {
            self.write_tombstones(cx, &gone);
        }
    }
}
