//! What an earlier server of the same device has left on its way: when a request that the kernel
//! issues again may run.
//!
//! # The danger
//!
//! A server of a ublk device dies by `kill -9`; the kernel gives its unanswered requests to the
//! next one, marked [`alua_export::block::Request::reissued`]. A command that the dead server sent
//! for such a request may still be on its way. It is the stale write of [`alua_multipath::fence`],
//! of a process that is not there any more: our engine knows nothing of that command.
//!
//! # The rule
//!
//! From the first re-issued request that changes blocks on, no request is taken by the engine until
//! one of these holds:
//!
//! 1. **Drained and reset.** Down every path of ours nothing is under way in this host that an
//!    earlier process sent (so the host itself sends nothing again), and a LOGICAL UNIT RESET
//!    through one of them was then answered "complete": SAM-5 ends the tasks of all nexuses with
//!    it, also of paths that the dead server had and we have not. Where the configuration forbids
//!    the reset, there is only
//! 2. **the bounded wait**: [`alua_multipath::config::Fence::wait_ms`] since this device was
//!    started, which was after the death of the other.
//!
//! Requests that came before the first re-issued one were never sent by the dead server, and
//! none of the writes that it left was acknowledged: an old copy is concurrent with them, as a
//! client that wrote the same blocks twice without waiting has asked for.
//!
//! # The machine
//!
//! `Nothing` - first re-issued change - `Due` - `Drain` on all paths - `Reset` through one -
//! `Over`; from `Drain` and `Reset` back to `Due` a moment later when something was not done; to
//! `Over` from everywhere when the bounded wait has passed. No I/O here.

use alua_multipath::{FenceAnswer, Time};

/// A step that is to be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want<P> {
    /// Wait until nothing of an earlier process is under way down the path.
    Drain(P),
    /// LOGICAL UNIT RESET through the path.
    Reset(P),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    Nothing,
    Due(Time),
    Drain { open: Vec<u32>, failed: bool },
    Reset { number: u32 },
    Over,
}

/// See the [module](self). `P` names a path.
#[derive(Debug)]
pub(crate) struct Inherited<P> {
    phase: Phase,
    number: u32,
    /// When the bounded wait is over.
    end: Time,
    retry_ms: u32,
    reset_allowed: bool,
    /// The path of the last reset that was tried.
    last_reset: Option<P>,
}

/// A path as the machine sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Way<P> {
    pub(crate) path: P,
    pub(crate) can_reset: bool,
}

impl<P: Copy + PartialEq> Inherited<P> {
    /// For a device that is started at `now`.
    pub(crate) fn new(fence: &alua_multipath::config::Fence, now: Time) -> Self {
        Self {
            phase: Phase::Nothing,
            number: 0,
            end: now.after(fence.wait_ms),
            retry_ms: fence.retry_ms,
            reset_allowed: fence.reset_unit,
            last_reset: None,
        }
    }

    /// A re-issued request that changes blocks has arrived. Returns whether it is the first.
    pub(crate) fn begin(&mut self, now: Time) -> bool {
        let first = self.phase == Phase::Nothing;
        if first {
            self.phase = Phase::Due(now);
        }
        first
    }

    /// Whether requests may run.
    pub(crate) const fn lets_pass(&self) -> bool {
        matches!(self.phase, Phase::Nothing | Phase::Over)
    }

    /// What is to be done now, by the number under which it is answered.
    pub(crate) fn poll(&mut self, ways: &[Way<P>], now: Time) -> Vec<(u32, Want<P>)> {
        if !self.lets_pass() && self.end <= now {
            self.phase = Phase::Over;
        }
        match &self.phase {
            Phase::Due(at) if *at <= now && self.reset_allowed => {
                if ways.is_empty() {
                    self.phase = Phase::Due(now.after(self.retry_ms));
                    return Vec::new();
                }
                let wants: Vec<_> =
                    ways.iter().map(|way| (self.next(), Want::Drain(way.path))).collect();
                let open = wants.iter().map(|&(number, _)| number).collect();
                self.phase = Phase::Drain { open, failed: false };
                wants
            }
            Phase::Drain { open, failed } if open.is_empty() => {
                let able: Vec<P> =
                    ways.iter().filter(|way| way.can_reset).map(|way| way.path).collect();
                let after = able.iter().position(|&path| Some(path) == self.last_reset);
                let via = able.get(after.map_or(0, |at| at + 1)).or_else(|| able.first()).copied();
                let (false, Some(via)) = (*failed, via) else {
                    self.phase = Phase::Due(now.after(self.retry_ms));
                    return Vec::new();
                };
                let number = self.next();
                self.last_reset = Some(via);
                self.phase = Phase::Reset { number };
                vec![(number, Want::Reset(via))]
            }
            _ => Vec::new(),
        }
    }

    fn next(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    /// The answer to what [`poll`](Self::poll) wanted.
    pub(crate) fn answered(&mut self, number: u32, answer: FenceAnswer, now: Time) {
        let done = answer == FenceAnswer::Done;
        match &mut self.phase {
            Phase::Drain { open, failed } if open.contains(&number) => {
                open.retain(|&other| other != number);
                *failed |= !done;
            }
            Phase::Reset { number: wanted } if *wanted == number => {
                self.phase = if done { Phase::Over } else { Phase::Due(now.after(self.retry_ms)) };
            }
            _ => {}
        }
    }

    /// When [`poll`](Self::poll) has to be asked again, at the latest.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Nothing | Phase::Over => None,
            Phase::Due(at) if self.reset_allowed => Some((*at).min(self.end)),
            _ => Some(self.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use alua_multipath::Config;

    use super::*;

    fn machine(reset_unit: bool) -> Inherited<char> {
        let mut fence = Config::default().fence;
        fence.reset_unit = reset_unit;
        Inherited::new(&fence, Time::from_millis(1_000))
    }

    fn ways() -> Vec<Way<char>> {
        vec![Way { path: 'a', can_reset: false }, Way { path: 'b', can_reset: true }]
    }

    fn numbers(wants: &[(u32, Want<char>)]) -> Vec<u32> {
        wants.iter().map(|&(number, _)| number).collect()
    }

    #[test]
    fn nothing_is_held_back_before_a_reissued_change() {
        let mut machine = machine(true);
        assert!(machine.lets_pass());
        assert_eq!(machine.poll(&ways(), Time::from_millis(1_000)), []);
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn every_path_is_drained_before_the_reset_which_lets_pass() {
        let now = Time::from_millis(2_000);
        let mut machine = machine(true);
        assert!(machine.begin(now) && !machine.begin(now));
        let drains = machine.poll(&ways(), now);
        assert_eq!(drains.len(), 2);
        assert!(!machine.lets_pass());
        let ids = numbers(&drains);
        machine.answered(ids[0], FenceAnswer::Done, now);
        assert_eq!(machine.poll(&ways(), now), [], "one path is not drained");
        machine.answered(ids[1], FenceAnswer::Done, now);
        let reset = machine.poll(&ways(), now);
        assert!(matches!(reset[..], [(_, Want::Reset('b'))]), "{reset:?}");
        assert!(!machine.lets_pass());
        machine.answered(reset[0].0, FenceAnswer::Done, now);
        assert!(machine.lets_pass());
        assert!(!machine.begin(now), "once is enough: the dead server sends nothing more");
    }

    #[test]
    fn what_is_not_done_is_tried_again_and_the_bounded_wait_ends_it() {
        let now = Time::from_millis(2_000);
        let mut machine = machine(true);
        machine.begin(now);
        for number in numbers(&machine.poll(&ways(), now)) {
            machine.answered(number, FenceAnswer::Failed, now);
        }
        assert_eq!(machine.poll(&ways(), now), []);
        let later = machine.deadline().unwrap();
        assert_eq!(later, now.after(500));
        assert_eq!(machine.poll(&ways(), later).len(), 2);
        assert!(!machine.lets_pass());
        machine.poll(&ways(), Time::from_millis(1_000).after(60_000));
        assert!(machine.lets_pass());
    }

    #[test]
    fn without_a_reset_only_the_bounded_wait_helps() {
        let now = Time::from_millis(2_000);
        let mut machine = machine(false);
        machine.begin(now);
        assert_eq!(machine.poll(&ways(), now), []);
        assert_eq!(machine.deadline(), Some(Time::from_millis(61_000)));
        machine.poll(&ways(), Time::from_millis(60_999));
        assert!(!machine.lets_pass());
        machine.poll(&ways(), Time::from_millis(61_000));
        assert!(machine.lets_pass());
    }
}
