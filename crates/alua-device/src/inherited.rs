//! What an earlier server of the same unit has left on its way: when requests may run.
//!
//! # The danger
//!
//! A server dies by `kill -9`, or ends while writes of it are in doubt. What it was not answered comes
//! again: the kernel gives the requests of a ublk device to the next server, marked
//! [`alua_export::block::Request::reissued`], and a client of NBD sends its own again. A command that
//! the earlier server sent for such a request may still be on its way. It is the stale write of
//! [`alua_multipath::fence`], of a process that is not there any more: our engine knows nothing of that
//! command.
//!
//! # The rule
//!
//! From the first re-issued request that changes blocks on, or from the start where an earlier server
//! has not ended cleanly, no request is taken by the engine until the host is **quiet**: nothing that
//! an earlier process sent is under way in it, down any path, also one that we do not have
//! ([`crate::inbox::Reactor::quiet`]), so that the host itself sends nothing again. And then one of
//! these holds:
//!
//! 1. **Reset.** A LOGICAL UNIT RESET was answered "complete" after that: SAM-5 ends the tasks of all
//!    nexuses with it. Where the configuration forbids the reset, or no path can carry it, or it is not
//!    to be known whether the host is quite quiet ([`Quiet::Unproven`]), there is only
//! 2. **the bounded wait**: [`alua_multipath::config::Fence::wait_ms`] since the host was seen to be
//!    so.
//!
//! Requests that came before the first re-issued one were never sent by the dead server, and
//! none of the writes that it left was acknowledged: an old copy is concurrent with them, as a
//! client that wrote the same blocks twice without waiting has asked for.
//!
//! # The machine
//!
//! `Nothing` - the first re-issued change, or the start - `Due` - `Reset` through a path - `Over`; from
//! `Reset` back to `Due` a moment later when it was not done; from `Due` to `Over` when the bounded wait
//! has passed. No I/O here.

use alua_multipath::{FenceAnswer, Time};

use crate::inbox::Quiet;

/// The host is looked at so often while it is not quiet, in milliseconds.
const LOOK_MS: u32 = 10;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    Nothing,
    Due(Time),
    Reset { number: u32 },
    Over,
}

/// See the [module](self). `P` names a path.
#[derive(Debug)]
pub(crate) struct Inherited<P> {
    phase: Phase,
    number: u32,
    quiet: Quiet,
    /// Since when it has not been [`Quiet::No`]. What was not known can turn out to be there: then the
    /// wait begins anew.
    since: Option<Time>,
    wait_ms: u32,
    retry_ms: u32,
    reset_allowed: bool,
    /// The path of the last reset that was tried.
    last_reset: Option<P>,
}

impl<P: Copy + PartialEq> Inherited<P> {
    pub(crate) const fn new(fence: &alua_multipath::config::Fence) -> Self {
        Self {
            phase: Phase::Nothing,
            number: 0,
            quiet: Quiet::No,
            since: None,
            wait_ms: fence.wait_ms,
            retry_ms: fence.retry_ms,
            reset_allowed: fence.reset_unit,
            last_reset: None,
        }
    }

    /// A re-issued request that changes blocks has arrived, or the earlier server has not ended
    /// cleanly. Returns whether it is the first.
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

    /// The path through which the unit is to be reset now, by the number under which it is answered.
    /// `able` are the paths that can; `quiet` looks at the host.
    pub(crate) fn poll(
        &mut self,
        able: &[P],
        quiet: impl FnOnce() -> Quiet,
        now: Time,
    ) -> Option<(u32, P)> {
        let Phase::Due(at) = self.phase else { return None };
        if at > now {
            return None;
        }
        if self.quiet != Quiet::Yes {
            self.quiet = quiet();
        }
        if self.quiet == Quiet::No {
            self.since = None;
            self.phase = Phase::Due(now.after(LOOK_MS));
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if since.after(self.wait_ms) <= now {
            self.phase = Phase::Over;
            return None;
        }
        let after = able.iter().position(|&path| Some(path) == self.last_reset);
        let via = able.get(after.map_or(0, |at| at + 1)).or_else(|| able.first()).copied();
        // A reset ends what has reached the target, and nothing that comes later.
        let proves = self.reset_allowed && self.quiet == Quiet::Yes;
        let Some(via) = via.filter(|_| proves) else {
            self.phase = Phase::Due(now.after(self.retry_ms).min(since.after(self.wait_ms)));
            return None;
        };
        self.number += 1;
        self.last_reset = Some(via);
        self.phase = Phase::Reset { number: self.number };
        Some((self.number, via))
    }

    /// The answer to the reset that [`poll`](Self::poll) wanted.
    pub(crate) fn answered(&mut self, number: u32, answer: FenceAnswer, now: Time) {
        if self.phase == (Phase::Reset { number }) {
            let done = answer == FenceAnswer::Done;
            self.phase = if done { Phase::Over } else { Phase::Due(now.after(self.retry_ms)) };
        }
    }

    /// When [`poll`](Self::poll) has to be asked again, at the latest.
    pub(crate) const fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Due(at) => Some(at),
            Phase::Nothing | Phase::Reset { .. } | Phase::Over => None,
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
        Inherited::new(&fence)
    }

    const fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    const fn quiet() -> Quiet {
        Quiet::Yes
    }

    const fn busy() -> Quiet {
        Quiet::No
    }

    #[test]
    fn nothing_is_held_back_before_a_reissued_change() {
        let mut machine = machine(true);
        assert!(machine.lets_pass());
        assert_eq!(machine.poll(&['a'], || panic!("nobody looks"), at(1_000)), None);
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn the_host_is_quiet_before_the_reset_which_lets_pass() {
        let mut machine = machine(true);
        assert!(machine.begin(at(2_000)) && !machine.begin(at(2_000)));
        for ms in [2_000, 2_010] {
            assert_eq!(machine.deadline(), Some(at(ms)));
            assert_eq!(machine.poll(&['a', 'b'], busy, at(ms)), None);
            assert!(!machine.lets_pass());
        }
        assert_eq!(machine.poll(&['a'], || panic!("too early"), at(2_019)), None);
        let (number, via) = machine.poll(&['a', 'b'], quiet, at(2_020)).unwrap();
        assert_eq!((via, machine.lets_pass(), machine.deadline()), ('a', false, None));
        machine.answered(number + 1, FenceAnswer::Done, at(2_030));
        assert!(!machine.lets_pass(), "another step");
        machine.answered(number, FenceAnswer::Done, at(2_030));
        assert!(machine.lets_pass());
        assert!(!machine.begin(at(2_030)), "once is enough: the dead server sends nothing more");
    }

    #[test]
    fn a_reset_that_is_not_done_goes_through_the_next_path() {
        let mut machine = machine(true);
        machine.begin(at(0));
        let mut ways = Vec::new();
        for round in 0..3 {
            let now = at(round * 500);
            let (number, via) = machine.poll(&['a', 'b'], quiet, now).unwrap();
            ways.push(via);
            machine.answered(number, FenceAnswer::Failed, now);
            assert_eq!(machine.deadline(), Some(now.after(500)));
        }
        assert_eq!(ways, ['a', 'b', 'a']);
    }

    /// The host may send a command again by itself as long as it has it.
    #[test]
    fn the_bounded_wait_begins_when_the_host_is_quiet() {
        for (reset_unit, able) in [(false, &['a'][..]), (true, &[])] {
            let mut machine = machine(reset_unit);
            machine.begin(at(0));
            assert_eq!(machine.poll(able, busy, at(100_000)), None);
            assert!(!machine.lets_pass());
            assert_eq!(machine.poll(able, quiet, at(100_010)), None);
            let mut now = machine.deadline().unwrap();
            while now < at(160_010) {
                assert_eq!(machine.poll(able, || panic!("it stays quiet"), now), None);
                assert!(!machine.lets_pass());
                now = machine.deadline().unwrap();
            }
            assert_eq!(now, at(160_010));
            assert_eq!(machine.poll(able, quiet, now), None);
            assert!(machine.lets_pass());
        }
    }

    #[test]
    fn where_it_is_not_to_be_known_a_reset_proves_nothing() {
        let mut machine = machine(true);
        machine.begin(at(0));
        assert_eq!(machine.poll(&['a'], || Quiet::Unproven, at(0)), None);
        assert_eq!(machine.poll(&['a'], || Quiet::Unproven, at(59_999)), None);
        assert!(!machine.lets_pass());
        let mut other = self::machine(true);
        other.begin(at(0));
        assert_eq!(other.poll(&['a'], || Quiet::Unproven, at(0)), None);
        assert!(other.poll(&['a'], quiet, at(1_000)).is_some(), "it is known after all");
        assert_eq!(machine.poll(&['a'], || Quiet::Unproven, at(60_000)), None);
        assert!(machine.lets_pass(), "the bounded wait is over");
    }

    /// What an earlier server has left is seen late where it could not be looked at before.
    #[test]
    fn the_bounded_wait_begins_anew_when_something_is_found_after_all() {
        let mut machine = machine(true);
        machine.begin(at(0));
        assert_eq!(machine.poll(&['a'], || Quiet::Unproven, at(0)), None);
        assert_eq!(machine.poll(&['a'], busy, at(30_000)), None);
        assert_eq!(machine.poll(&['a'], busy, at(60_000)), None);
        assert!(!machine.lets_pass(), "it is known that something is there");
        assert_eq!(machine.deadline(), Some(at(60_010)));
        assert_eq!(machine.poll(&['a'], || Quiet::Unproven, at(70_000)), None);
        assert_eq!(machine.poll(&['a'], || Quiet::Unproven, at(129_999)), None);
        assert!(!machine.lets_pass());
        assert_eq!(machine.poll(&['a'], || Quiet::Unproven, at(130_000)), None);
        assert!(machine.lets_pass());
    }

    #[test]
    fn resets_without_an_end_are_ended_by_the_bounded_wait() {
        let mut machine = machine(true);
        machine.begin(at(0));
        let (number, _) = machine.poll(&['a'], quiet, at(0)).unwrap();
        assert_eq!(machine.poll(&['a'], quiet, at(60_000)), None, "it is out");
        machine.answered(number, FenceAnswer::Failed, at(60_000));
        assert_eq!(machine.poll(&['a'], quiet, at(60_500)), None);
        assert!(machine.lets_pass());
    }
}
