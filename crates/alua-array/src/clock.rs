//! The event queue: what happens when, ties broken by the order of scheduling.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Time;

/// A queue of events ordered by time and, within one moment, by the order in which they were
/// scheduled. There is no other order in the model, so a run depends on nothing but its inputs.
#[derive(Debug)]
pub(crate) struct Clock<T> {
    now: Time,
    sequence: u64,
    heap: BinaryHeap<Reverse<Entry<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    at: Time,
    sequence: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl<T> Clock<T> {
    pub(crate) const fn new() -> Self {
        Self { now: Time::ZERO, sequence: 0, heap: BinaryHeap::new() }
    }

    pub(crate) const fn now(&self) -> Time {
        self.now
    }

    /// Schedules `what`. A moment that has passed counts as now.
    pub(crate) fn schedule(&mut self, at: Time, what: T) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), sequence, what }));
    }

    /// The moment of the next event.
    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes the next event that is due by `until` and moves the clock to it.
    pub(crate) fn pop_until(&mut self, until: Time) -> Option<T> {
        if self.next()? > until {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.what)
    }

    /// Moves the clock to `to`, never back.
    pub(crate) fn move_to(&mut self, to: Time) {
        self.now = self.now.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_time_then_scheduling() {
        let mut clock = Clock::new();
        for (at, name) in [(5, 'd'), (3, 'a'), (3, 'b'), (9, 'e'), (3, 'c')] {
            clock.schedule(Time::from_nanos(at), name);
        }
        let mut seen = String::new();
        while let Some(name) = clock.pop_until(Time::from_nanos(5)) {
            seen.push(name);
        }
        assert_eq!(seen, "abcd");
        assert_eq!(clock.now(), Time::from_nanos(5));
        assert_eq!(clock.next(), Some(Time::from_nanos(9)));
    }

    #[test]
    fn the_past_is_now() {
        let mut clock = Clock::new();
        clock.move_to(Time::from_nanos(7));
        clock.schedule(Time::from_nanos(1), ());
        assert_eq!(clock.next(), Some(Time::from_nanos(7)));
        clock.move_to(Time::from_nanos(2));
        assert_eq!(clock.now(), Time::from_nanos(7));
    }
}
