//! The order of what waits: the writes of one record follow each other, those of others go ahead.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::journal::Queued;

/// A write that waits or is on its way.
struct Waiting {
    queued: Queued,
    /// How often the service has failed at this write.
    faults: u32,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waiting>,
    /// The writes that can be sent: no earlier one of their record waits.
    ready: BTreeSet<u64>,
    /// The writes of each record, in their order.
    lanes: HashMap<String, VecDeque<u64>>,
}

impl Queue {
    pub(super) fn push(&mut self, queued: Queued) {
        let sequence = queued.sequence;
        let lane = self.lanes.entry(queued.id.clone()).or_default();
        lane.push_back(sequence);
        if lane.len() == 1 {
            self.ready.insert(sequence);
        }
        self.waiting.insert(sequence, Waiting { queued, faults: 0 });
    }

    /// The oldest write that can be sent.
    pub(super) fn take(&mut self) -> Option<Queued> {
        let sequence = self.ready.pop_first()?;
        self.waiting.get(&sequence).map(|waiting| waiting.queued.clone())
    }

    /// Puts a write back that may have been sent.
    pub(super) fn put_back(&mut self, sequence: u64) {
        if let Some(waiting) = self.waiting.get_mut(&sequence) {
            waiting.queued.is_repeat = true;
            self.ready.insert(sequence);
        }
    }

    /// Counts a failure at one write.
    pub(super) fn count_fault(&mut self, sequence: u64) -> u32 {
        self.waiting.get_mut(&sequence).map_or(0, |waiting| {
            waiting.queued.is_repeat = true;
            waiting.faults += 1;
            waiting.faults
        })
    }

    /// Removes a write that is done: the next one of its record can be sent.
    pub(super) fn finish(&mut self, sequence: u64) {
        let Some(Waiting { queued: Queued { id, .. }, .. }) = self.waiting.remove(&sequence) else { return };
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.pop_front();
        match lane.front() {
            Some(next) => drop(self.ready.insert(*next)),
            None => drop(self.lanes.remove(&id)),
        }
    }
}
