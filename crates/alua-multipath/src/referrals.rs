//! Which blocks a target port group has, where its access state is LBA-dependent.
//!
//! SBC (referrals) lets an array divide a unit's blocks among its groups: in the state
//! logical-block-dependent a group is optimized for some, another group for the rest. REPORT
//! REFERRALS tells the map; a command that needs another group is ended with ABORTED COMMAND, 3F/15
//! and sense data with the descriptors that concern it.
//!
//! # What is done with it
//!
//! - The map is read when a path becomes LBA-dependent, after every report of access states since
//!   then, and when 3F/15 says so; what the sense data itself tells counts at once.
//! - Where a target refers to a group of which we believe that it lets no I/O pass, or a group refers of
//!   which we do not believe that it is LBA-dependent, the access states are read again.
//! - A request that crosses from one group's blocks into another's goes in parts, one after the
//!   other, each to its own group. It is complete when the last is.
//! - For one part, a path of an LBA-dependent group has the class of the state that the map names
//!   for that group. A state that lets no I/O pass makes it the last choice and does not rule it
//!   out: the map may be old, and the target will tell.
//! - Without a map, or between the ranges of one, LBA-dependent is as good as non-optimized.
//!
//! Bounds: [`RANGES_MAX`] ranges of [`GROUPS_MAX`] groups; what is beyond is left out.

use alua_core::access::AccessState;
use alua_core::select::{self, Class};
use alua_core::spc::Status;
use alua_core::spc::cdb::{Cdb, CdbBytes};
use alua_core::spc::referrals::{ReferralDescriptor, ReportReferrals, SegmentLayout, Segments};
use alua_core::spc::sense::{self, Sense, SenseKey};
use alua_core::unit::Outcome;

use crate::action::{Action, Control, ControlId, ControlKind, ControlName, PathId};
use crate::config::PATHS_MAX;
use crate::engine::Engine;
use crate::path::Link;
use crate::request::{Operation, Request};
use crate::time::Time;

/// Ranges of blocks that are kept.
pub const RANGES_MAX: usize = 256;
/// Groups of one range that are kept.
pub const GROUPS_MAX: usize = 8;

/// What is read at first; a longer map is asked for again, up to [`REPORT_MAX`].
const REPORT_FIRST: u32 = 4_096;
const REPORT_MAX: u32 = 65_536;
/// From one reading that told nothing to the next, first, and where the doubling of that ends; in
/// milliseconds.
const AGAIN_FIRST_MS: u32 = 20;
const AGAIN_MAX_MS: u32 = 5_000;
/// From one reading of the access states because of a referral to the next, in milliseconds.
const REFRESH_MS: u32 = 100;

/// REPORT REFERRALS from the first block on.
pub(crate) fn cdb(allocation_length: u32) -> CdbBytes {
    Cdb::ReportReferrals { lba: 0, allocation_length, one_segment: false }.encode()
}

/// A range of blocks and the groups that reach it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    first: u64,
    last: u64,
    count: u8,
    groups: [(u16, AccessState); GROUPS_MAX],
}

impl Range {
    /// `None` where the descriptor contradicts itself.
    fn of(descriptor: &ReferralDescriptor<'_>) -> Option<Self> {
        let mut range = Self {
            first: descriptor.first_lba,
            last: descriptor.last_lba,
            count: 0,
            groups: [(0, AccessState::Unavailable); GROUPS_MAX],
        };
        for (slot, (state, group)) in range.groups.iter_mut().zip(descriptor.groups.clone()) {
            *slot = (group, state);
            range.count += 1;
        }
        (range.first <= range.last).then_some(range)
    }

    fn state(&self, group: u16) -> Option<AccessState> {
        let mut known = self.groups.iter().take(usize::from(self.count));
        known.find(|(id, _)| *id == group).map(|&(_, state)| state)
    }

    /// Whether `lba` belongs to the range, and how many blocks from there on are like it in that.
    fn reach(&self, lba: u64, layout: SegmentLayout) -> (bool, u64) {
        if lba < self.first {
            return (false, self.first - lba);
        }
        if lba > self.last {
            return (false, u64::MAX);
        }
        let to_end = self.last - lba + 1;
        let size = u64::from(layout.size);
        let stripe = size * u64::from(layout.multiplier);
        match (lba - self.first).checked_rem(stripe) {
            Some(at) if at < size => (true, (size - at).min(to_end)),
            Some(at) => (false, (stripe - at).min(to_end)),
            None => (true, to_end),
        }
    }
}

/// The map of a unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Referrals {
    ranges: Vec<Range>,
    /// When it is to be read.
    due: Option<Time>,
    /// The number and the allocation length of the reading that is out.
    out: Option<(u32, u32)>,
    /// When the last one was sent.
    sent: Option<Time>,
    /// What was learned since that was sent makes it old.
    outdated: bool,
    pause_ms: u32,
    /// When the access states were read again because of what a target referred to.
    refreshed: Option<Time>,
    /// The place of the path that was asked last.
    asked: usize,
    /// When the report of access states was read that the map goes with.
    report: Option<alua_core::time::Time>,
    number: u32,
}

impl Referrals {
    pub(crate) fn new() -> Self {
        Self { ranges: Vec::with_capacity(RANGES_MAX), ..Self::default() }
    }

    fn want(&mut self, at: Time) {
        self.outdated = self.out.is_some();
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn want_later(&mut self, now: Time) {
        self.due = Some(now.after(self.pause_ms.max(AGAIN_FIRST_MS)));
        self.pause_ms = (self.pause_ms * 2).clamp(AGAIN_FIRST_MS, AGAIN_MAX_MS);
    }

    fn replace(&mut self, segments: Segments<'_>) {
        self.ranges.clear();
        self.ranges.extend(segments.filter_map(|it| Range::of(&it)).take(RANGES_MAX));
    }

    /// Takes in what sense data tells of some ranges; whether that is news.
    fn learn(&mut self, segments: Segments<'_>, layout: SegmentLayout) -> bool {
        let mut news = false;
        let striped = layout.size > 0 && layout.multiplier > 1;
        for range in segments.filter_map(|it| Range::of(&it)) {
            let same = |it: &&mut Range| (it.first, it.last) == (range.first, range.last);
            if let Some(known) = self.ranges.iter_mut().find(same) {
                news |= *known != range;
                *known = range;
                continue;
            }
            news = true;
            let crosses = |it: &Range| it.first <= range.last && range.first <= it.last;
            if !striped && self.ranges.iter().any(crosses) {
                // It is about another division of the unit than we know.
                self.ranges.clear();
            }
            if self.ranges.len() < RANGES_MAX {
                self.ranges.push(range);
            }
        }
        news
    }

    /// The range that has `lba`, and how many blocks from there on belong together.
    fn find(&self, lba: u64, layout: SegmentLayout) -> (Option<usize>, u64) {
        let mut found = None;
        let mut length = u64::MAX;
        for (at, range) in self.ranges.iter().enumerate() {
            let (has, reach) = range.reach(lba, layout);
            length = length.min(reach);
            if has && found.is_none() {
                found = Some(at);
            }
        }
        (found, length)
    }
}

impl Engine {
    /// Finds out whether blocks matter for the choice of a path.
    pub(crate) fn find_by_lba(&mut self, now: Time) {
        let layout = self.config.referrals;
        let dependent = layout.is_some() && (0..self.places).any(|place| self.is_by_lba(place));
        let report = self.unit.last_report().map(|(_, at)| at);
        if dependent && (!self.by_lba || report != self.referrals.report) {
            self.referrals.report = report;
            self.referrals.want(now);
        }
        self.by_lba = dependent;
        self.ask_referrals(now);
    }

    fn is_by_lba(&self, place: usize) -> bool {
        let class = self.paths[place].class;
        class.is_some() && self.state_of(place) == Some(AccessState::LbaDependent)
    }

    fn state_of(&self, place: usize) -> Option<AccessState> {
        self.paths[place].core.and_then(|core| self.unit.access(core).state)
    }

    /// Cuts a part so that all of it belongs to one range, and says to which.
    pub(crate) fn cut(&self, part: &mut Request) -> Option<usize> {
        let layout = self.config.referrals?;
        if part.operation == Operation::Flush {
            return None;
        }
        let (range, length) = self.referrals.find(part.lba, layout);
        part.blocks = u64::from(part.blocks).min(length) as u32;
        range
    }

    /// The place of the path for a part that belongs to a range of the map.
    pub(crate) fn choose_by_lba(
        &mut self,
        range: Option<usize>,
        avoid: Option<u16>,
        now: Time,
    ) -> Option<usize> {
        let mut before = [None; PATHS_MAX as usize];
        for (place, before) in before.iter_mut().enumerate().take(self.places) {
            *before = self.candidates[place].class;
            if let Some(class) = range.and_then(|range| self.class_in(range, place)) {
                self.candidates[place].class = Some(class);
                self.rank(place);
            }
        }
        let chosen = self.choose_known(avoid, now);
        for (place, class) in before.into_iter().enumerate().take(self.places) {
            self.candidates[place].class = class;
            self.rank(place);
        }
        chosen
    }

    /// The class that a path of an LBA-dependent group has for a range.
    fn class_in(&self, range: usize, place: usize) -> Option<Class> {
        let whole = self.paths[place].class.filter(|_| self.is_by_lba(place))?;
        let core = self.paths[place].core?;
        let group = self.unit.path(core)?.group()?;
        let state = self.referrals.ranges.get(range)?.state(group);
        let preferred = self.unit.is_preferred(core);
        let optimized = state == Some(AccessState::ActiveOptimized);
        let class = select::class(optimized, preferred, self.config.preference);
        let usable = state.is_some_and(AccessState::is_live);
        Some(if whole.is_deferred() || !usable { class.deferred() } else { class })
    }

    /// Takes in what the sense data of an I/O command down this path tells of other groups.
    pub(crate) fn note_referral(&mut self, place: usize, raw: &[u8], now: Time) {
        let referred = Sense::parse(raw).is_ok_and(|sense| {
            (sense.key, sense.asc, sense.ascq) == (SenseKey::AbortedCommand, 0x3f, 0x15)
        });
        let Some(layout) = self.config.referrals.filter(|_| referred) else { return };
        let news = match sense::referrals(raw) {
            Some(Ok(referral)) => {
                self.compare_states(place, referral.segments(), now);
                self.referrals.learn(referral.segments(), layout)
            }
            _ => true,
        };
        // A target that refers without end must not have us read without end.
        if news {
            let soonest = self.referrals.sent.map(|sent| sent.after(AGAIN_FIRST_MS));
            self.referrals.want(soonest.map_or(now, |soonest| soonest.max(now)));
            self.ask_referrals(now);
        }
    }

    /// Where the target refers and our access states do not fit that, they are read again.
    fn compare_states(&mut self, place: usize, mut segments: Segments<'_>, now: Time) {
        let live = |state: Option<AccessState>| state.is_some_and(AccessState::is_live);
        let ours = |id| self.unit.group(id).and_then(|group| group.state());
        let differs = segments.any(|segment| {
            segment.groups.clone().any(|(state, id)| live(Some(state)) && !live(ours(id)))
        });
        let recently = self.referrals.refreshed.is_some_and(|at| at.after(REFRESH_MS) > now);
        // Only an LBA-dependent group refers.
        let fits = self.state_of(place) == Some(AccessState::LbaDependent);
        if (differs || !fits) && !recently {
            self.referrals.refreshed = Some(now);
            self.unit.refresh(now.core());
            self.core_dirty = true;
        }
    }

    /// Reads the map, where that is due.
    pub(crate) fn ask_referrals(&mut self, now: Time) {
        let due = self.referrals.due.is_some_and(|due| due <= now);
        if due && self.by_lba && self.referrals.out.is_none() {
            self.read_referrals(REPORT_FIRST, now);
        }
    }

    fn read_referrals(&mut self, length: u32, now: Time) {
        let places = self.places;
        let next = self.referrals.asked + 1;
        // Another path than last time, for that one may have said nothing.
        let asked = (0..places)
            .map(|step| (next + step) % places)
            .find(|&place| self.is_by_lba(place) && self.paths[place].link == Link::Up);
        let Some(place) = asked else {
            self.referrals.want_later(now);
            return;
        };
        let referrals = &mut self.referrals;
        referrals.number = referrals.number.wrapping_add(1);
        referrals.asked = place;
        referrals.due = None;
        referrals.sent = Some(now);
        referrals.outdated = false;
        referrals.out = Some((referrals.number, length));
        let path = self.paths[place].id(place);
        let id = ControlId(ControlName::Referrals(path, self.referrals.number));
        let kind = ControlKind::Referrals { allocation_length: length };
        let timeout_ms = self.config.core.command_timeout_ms;
        self.act(Action::Control(Control { id, path, kind, timeout_ms }));
    }

    /// The map has come back.
    pub(crate) fn referrals_read(
        &mut self,
        id: PathId,
        number: u32,
        outcome: &Outcome<'_>,
        now: Time,
    ) {
        let Some((_, length)) = self.referrals.out.filter(|&(out, _)| out == number) else {
            self.counters.strays += 1;
            return;
        };
        self.referrals.out = None;
        let outdated = std::mem::take(&mut self.referrals.outdated);
        match *outcome {
            Outcome::Answered { status: Status::Good, data, .. } => {
                let needed = ReportReferrals::needed_length(data).unwrap_or(0);
                if needed > length && needed <= REPORT_MAX {
                    return self.read_referrals(needed, now);
                }
                match ReportReferrals::parse(data) {
                    Ok(report) => {
                        self.referrals.replace(report.segments());
                        self.referrals.pause_ms = 0;
                        self.kick = true;
                        if outdated {
                            self.referrals.want_later(now);
                        }
                    }
                    Err(_) => self.referrals.want_later(now),
                }
            }
            Outcome::Answered { status, sense, .. } => {
                if let Some(place) = self.place(id) {
                    self.note_answer(place, status, sense, now);
                }
                self.referrals.want_later(now);
            }
            _ => {
                if let Some(place) = self.place(id) {
                    self.suspect(place, now);
                }
                self.referrals.want_later(now);
            }
        }
    }

    /// When the map is to be read.
    pub(crate) fn next_referrals(&self) -> Option<Time> {
        self.referrals.due.filter(|_| self.by_lba && self.referrals.out.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: SegmentLayout = SegmentLayout { size: 0, multiplier: 0 };

    fn range(first: u64, last: u64, group: u16) -> Range {
        let mut groups = [(0, AccessState::Unavailable); GROUPS_MAX];
        groups[0] = (group, AccessState::ActiveOptimized);
        Range { first, last, count: 1, groups }
    }

    fn map(ranges: &[Range]) -> Referrals {
        Referrals { ranges: ranges.to_vec(), ..Referrals::default() }
    }

    #[test]
    fn a_range_ends_where_the_next_begins() {
        let map = map(&[range(0, 9, 1), range(10, 19, 2), range(30, 39, 1)]);
        assert_eq!(map.find(0, WHOLE), (Some(0), 10));
        assert_eq!(map.find(9, WHOLE), (Some(0), 1));
        assert_eq!(map.find(10, WHOLE), (Some(1), 10));
        assert_eq!(map.find(20, WHOLE), (None, 10), "the gap ends where a range begins");
        assert_eq!(map.find(40, WHOLE).0, None);
    }

    #[test]
    fn stripes_belong_to_the_groups_in_turn() {
        let layout = SegmentLayout { size: 4, multiplier: 2 };
        let map = map(&[range(0, 95, 1), range(4, 99, 2)]);
        for lba in 0..96 {
            let (found, length) = map.find(lba, layout);
            assert_eq!(found, Some((lba / 4 % 2) as usize), "block {lba}");
            assert_eq!(length, 4 - lba % 4, "block {lba}");
        }
    }

    /// Each block alone says the same as the blocks that belong together.
    #[test]
    fn blocks_that_belong_together_do() {
        let layout = SegmentLayout { size: 3, multiplier: 5 };
        let map = map(&[range(2, 40, 1), range(5, 43, 2), range(60, 61, 3)]);
        for lba in 0..80 {
            let (found, length) = map.find(lba, layout);
            for next in lba..lba.saturating_add(length).min(80) {
                assert_eq!(map.find(next, layout).0, found, "block {next} after {lba}");
            }
        }
    }

    #[test]
    fn what_contradicts_the_map_replaces_it() {
        let mut bytes = vec![0, 0, 0, 1];
        bytes.extend(5_u64.to_be_bytes());
        bytes.extend(14_u64.to_be_bytes());
        bytes.extend([0, 0, 0, 7]);
        let mut report = vec![0, 0, 0, bytes.len() as u8];
        report.extend(bytes);
        let report = ReportReferrals::parse(&report).unwrap();
        let mut known = map(&[range(0, 9, 1), range(10, 19, 2)]);
        assert!(known.learn(report.segments(), WHOLE));
        assert_eq!(known.ranges.len(), 1);
        assert_eq!(known.ranges[0].state(7), Some(AccessState::ActiveOptimized));
        assert!(!known.learn(report.segments(), WHOLE), "told again is nothing new");
        assert_eq!(known.ranges.len(), 1);
    }
}
