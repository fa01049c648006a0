//! When the engine wants to be called again.
//!
//! A shell asks after each of its turns ([`Engine::poll_deadline`]), and a look at everything that waits
//! for a moment, on all paths, takes longer than a request. So the answer is kept. It may become too
//! early, which costs a call in vain, and never too late:
//!
//! - a command that is sent down an idle path brings it closer by a known time;
//! - a command that comes back well moves it away, if anything;
//! - everything else forgets it: every other input as it settles, other outcomes, every action that is
//!   not a part of a plain request, and whatever [`Engine::settle`] has to settle.

use crate::engine::Engine;
use crate::time::Time;

impl Engine {
    /// When [`handle_time`](Self::handle_time) must be called, at the latest.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Time> {
        if let Some(kept) = self.due.get() {
            let early = |at: Time| kept.is_some_and(|kept| kept <= at);
            debug_assert!(self.deadline().is_none_or(early), "{kept:?} {:?}", self.deadline());
            return kept;
        }
        let found = self.deadline();
        self.due.set(Some(found));
        found
    }

    /// The next answer has to be found.
    #[inline]
    pub(crate) fn forget_deadline(&self) {
        self.due.set(None);
    }

    /// A command is sent down a path that has none in flight.
    #[inline]
    pub(crate) fn note_sent(&self, now: Time) {
        if let Some(kept) = self.due.get() {
            let first = now.after(self.config.io_timeout_ms.min(self.config.slow_ms));
            if kept.is_none_or(|kept| kept > first) {
                self.due.set(Some(Some(first)));
            }
        }
    }

    /// The first moment at which something is to be done.
    fn deadline(&self) -> Option<Time> {
        let paths = (0..self.paths.len()).flat_map(|place| {
            let path = &self.paths[place];
            [
                self.next_timeout(place),
                self.next_slow(place),
                self.next_ask(place),
                path.probe.due.filter(|_| path.core.is_some() && path.probe.out.is_none()),
                path.abort_again,
                path.strikes.until,
                path.held_until.filter(|&until| until > self.last_time),
                self.next_fence_time(place),
            ]
        });
        let own = [
            self.next_delay(),
            self.poll.map(|(at, _)| at),
            self.next_patience(self.last_time),
            self.next_activation(),
            self.next_referrals(),
            self.core_deadline,
        ];
        paths.chain(own).flatten().min()
    }
}
