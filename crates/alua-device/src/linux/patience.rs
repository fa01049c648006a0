//! How long a start waits for its disks, and what it says meanwhile. No I/O here.

use std::time::{Duration, Instant};

/// How long after the first disk another one may answer before the device is started without it.
const LATE: Duration = Duration::from_secs(3);
/// While none has answered it is said so often what is waited for: after so long, then after twice the time,
const SAY: Duration = Duration::from_secs(3);
/// and at least so often.
const SAY_AT_LEAST: Duration = Duration::from_secs(300);
/// The wish to stop is looked at so often.
const LOOK: Duration = Duration::from_millis(100);
/// So many disks are named.
const NAMED: usize = 16;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Patience {
    until: Option<Instant>,
    say: Instant,
    pause: Duration,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Wait for an answer, for so long at the most.
    Wait(Duration),
    /// Say what is waited for.
    Say,
    /// Go on without those that have not answered.
    Enough,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self { until: None, say: now + SAY, pause: SAY }
    }

    /// A disk has answered, and can be used.
    pub(super) fn answered(&mut self, now: Instant) {
        self.until.get_or_insert(now + LATE);
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        match self.until {
            Some(until) if until <= now => Next::Enough,
            Some(until) => Next::Wait(LOOK.min(until - now)),
            None if self.say <= now => {
                self.pause = (self.pause * 2).min(SAY_AT_LEAST);
                self.say = now + self.pause;
                Next::Say
            }
            None => Next::Wait(LOOK.min(self.say - now)),
        }
    }
}

/// What is waited for, and what can be done about it.
pub(super) fn words(disks: &[String]) -> String {
    let (named, rest) = disks.split_at(disks.len().min(NAMED));
    let more = match rest.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "no disk of the unit can be used yet, nothing is served; it waits for the answer of {}{more}: look \
         at the kernel log, the links and the target; SIGINT (Ctrl-C) or SIGTERM ends the wait",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_no_disk_answers_that_is_said_at_growing_intervals() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        let mut said = Vec::new();
        for second in 0..1_500 {
            match patience.next(start + Duration::from_secs(second)) {
                Next::Say => said.push(second),
                Next::Wait(limit) => assert!(limit <= LOOK),
                Next::Enough => panic!("without a disk nothing is served"),
            }
        }
        assert_eq!(said, [3, 9, 21, 45, 93, 189, 381, 681, 981, 1_281]);
    }

    #[test]
    fn after_the_first_answer_the_others_have_a_moment_and_nothing_is_said() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        patience.answered(at(2));
        patience.answered(at(4));
        assert_eq!(patience.next(at(4)), Next::Wait(LOOK));
        assert_eq!(patience.next(at(5) - LOOK / 2), Next::Wait(LOOK / 2));
        assert_eq!(patience.next(at(5)), Next::Enough);
    }

    #[test]
    fn the_disks_are_named_but_not_hundreds_of_them() {
        let disks = |count| (0..count).map(|at| format!("sd{at} (0:0:{at}:0)")).collect::<Vec<_>>();
        let text = words(&disks(2));
        assert!(text.contains("the answer of sd0 (0:0:0:0), sd1 (0:0:1:0): look"), "{text}");
        let text = words(&disks(100));
        assert!(text.contains("sd15 (0:0:15:0) and 84 more: look"), "{text}");
    }
}
