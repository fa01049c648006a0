//! Referrals (SBC-3, 4.25): which target port groups to use for which logical blocks of a logical
//! unit whose groups are in the logical-block-dependent state. They come in REPORT REFERRALS
//! parameter data (5.21 there) and in sense data (descriptor type 0Bh), with one and the same
//! descriptor of a user data segment.

use core::iter::FusedIterator;

use super::bytes::{Sink, Written, be16, byte, claimed, header, short_length_field};
use super::{Rule, WireError};
use crate::access::AccessState;

/// Checked REPORT REFERRALS parameter data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportReferrals<'a> {
    segments: &'a [u8],
}

impl<'a> ReportReferrals<'a> {
    /// Checks `data`, the bytes that were transferred. What follows the length is ignored.
    ///
    /// # Errors
    ///
    /// The data is shorter than its header or than its length field, or a descriptor is not whole.
    pub fn parse(data: &'a [u8]) -> Result<Self, WireError> {
        let ([_, _, high, low], rest) = header::<4>(data, "report referrals header")?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let segments = claimed(rest, length, REPORT_LENGTH, 2)?;
        check_segments(segments, 4)?;
        Ok(Self { segments })
    }

    /// Bytes that the whole data has, by its first four.
    ///
    /// # Errors
    ///
    /// Fewer than four bytes are there.
    pub fn needed_length(data: &[u8]) -> Result<u32, WireError> {
        let (fields, _) = header::<4>(data, "report referrals header")?;
        Ok(u32::from(be16(fields, 2).unwrap_or(0)).saturating_add(4))
    }

    /// The user data segments, in the order of the data.
    #[must_use]
    pub const fn segments(&self) -> Segments<'a> {
        Segments { rest: self.segments }
    }
}

/// A checked user data segment referral sense data descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReferralSense<'a> {
    not_all: bool,
    segments: &'a [u8],
}

impl<'a> ReferralSense<'a> {
    /// DESCRIPTOR TYPE of a user data segment referral.
    pub const KIND: u8 = 0x0b;

    /// Checks the `body` of a sense data descriptor of this [`KIND`](Self::KIND).
    ///
    /// # Errors
    ///
    /// A segment is not whole, or there are more or fewer than the descriptor says. The offset is
    /// counted from the start of the descriptor, two bytes before the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let ([flags, count], segments) = header::<2>(body, "user data segment referral")?;
        let found = check_segments(segments, 4)?;
        if found != usize::from(*count) {
            let expected = "the number of descriptors that follow";
            let rule = Rule::Value { found: (*count).into(), expected };
            return Err(WireError::new("number of user data segment referrals", 3, rule));
        }
        Ok(Self { not_all: flags & 0x01 != 0, segments })
    }

    /// NOT_ALL_R: there are more segments than the sense data could hold; REPORT REFERRALS tells
    /// of all.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.not_all
    }

    /// The user data segments, in the order of the data.
    #[must_use]
    pub const fn segments(&self) -> Segments<'a> {
        Segments { rest: self.segments }
    }
}

/// Walks the segments and gives their number.
fn check_segments(mut rest: &[u8], mut offset: usize) -> Result<usize, WireError> {
    let mut count = 0_usize;
    while !rest.is_empty() {
        let Some((fields, after)) = rest.split_first_chunk::<SEGMENT>() else {
            let rule = Rule::Truncated { need: SEGMENT, have: rest.len() };
            return Err(WireError::new("user data segment referral descriptor", offset, rule));
        };
        let groups = usize::from(byte(fields, 3)).saturating_mul(GROUP);
        let Some(next) = after.get(groups..) else {
            let rule = Rule::Overrun { claimed: groups, available: after.len() };
            let offset = offset.saturating_add(3);
            return Err(WireError::new("number of target port group descriptors", offset, rule));
        };
        rest = next;
        offset = offset.saturating_add(SEGMENT).saturating_add(groups);
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// Iterator over user data segments.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Segments<'a> {
    type Item = ReferralDescriptor<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (fields, after) = self.rest.split_first_chunk::<SEGMENT>()?;
        let [_, _, _, count, lbas @ ..] = fields;
        let (first, last) = lbas.split_first_chunk::<8>()?;
        let groups = usize::from(*count).saturating_mul(GROUP);
        let (groups, rest) = after.split_at_checked(groups)?;
        self.rest = rest;
        Some(ReferralDescriptor {
            first_lba: u64::from_be_bytes(*first),
            last_lba: u64::from_be_bytes(*last.first_chunk()?),
            groups: ReferralGroups { rest: groups },
        })
    }
}

impl FusedIterator for Segments<'_> {}

/// One user data segment: a range of logical blocks and the groups that reach it.
#[derive(Clone, Debug)]
pub struct ReferralDescriptor<'a> {
    /// The segment's first logical block.
    pub first_lba: u64,
    /// The segment's last logical block, as sent: a target may lie and put it before the first.
    pub last_lba: u64,
    /// The groups with their state for these blocks.
    pub groups: ReferralGroups<'a>,
}

impl ReferralDescriptor<'_> {
    /// Whether the block is in the segment.
    #[must_use]
    pub const fn contains(&self, lba: u64) -> bool {
        self.first_lba <= lba && lba <= self.last_lba
    }
}

/// Iterator over the state and the id of a segment's target port groups.
#[derive(Clone, Debug)]
pub struct ReferralGroups<'a> {
    rest: &'a [u8],
}

impl Iterator for ReferralGroups<'_> {
    type Item = (AccessState, u16);

    fn next(&mut self) -> Option<Self::Item> {
        let ([state, _, high, low], rest) = self.rest.split_first_chunk::<GROUP>()?;
        self.rest = rest;
        Some((AccessState::from_bits(*state), u16::from_be_bytes([*high, *low])))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.rest.len() / GROUP;
        (count, Some(count))
    }
}

impl ExactSizeIterator for ReferralGroups<'_> {}
impl FusedIterator for ReferralGroups<'_> {}

/// Writes user data segments, as REPORT REFERRALS data or as a sense data descriptor.
#[derive(Debug)]
pub struct ReferralWriter<'b> {
    sink: Sink<'b>,
    in_sense: bool,
    segments: usize,
}

impl<'b> ReferralWriter<'b> {
    /// Starts REPORT REFERRALS parameter data in `buffer`, of any size.
    #[must_use]
    pub fn report(buffer: &'b mut [u8]) -> Self {
        let mut sink = Sink::new(buffer);
        sink.put(&[0; 4]);
        Self { sink, in_sense: false, segments: 0 }
    }

    /// Starts a sense data descriptor in `buffer`, for
    /// [`Sense::emit_descriptor_with`](super::sense::Sense::emit_descriptor_with). `not_all` is
    /// NOT_ALL_R: the logical unit has more segments.
    #[must_use]
    pub fn sense(buffer: &'b mut [u8], not_all: bool) -> Self {
        let mut sink = Sink::new(buffer);
        sink.put(&[ReferralSense::KIND, 0, u8::from(not_all), 0]);
        Self { sink, in_sense: true, segments: 0 }
    }

    /// Adds a segment with its groups.
    ///
    /// # Errors
    ///
    /// More than 255 groups: the count field has one byte. Nothing is added then.
    pub fn push(
        &mut self,
        first_lba: u64,
        last_lba: u64,
        groups: impl IntoIterator<Item = (AccessState, u16)>,
    ) -> Result<(), WireError> {
        let start = self.sink.total();
        self.sink.put(&[0; 4]);
        self.sink.put(&first_lba.to_be_bytes());
        self.sink.put(&last_lba.to_be_bytes());
        let mut count = 0_u8;
        for (state, group) in groups {
            let Some(more) = count.checked_add(1) else {
                self.sink.rewind(start);
                let rule = Rule::Value { found: 256, expected: "at most 255" };
                let offset = start.saturating_add(3);
                return Err(WireError::new(
                    "number of target port group descriptors",
                    offset,
                    rule,
                ));
            };
            count = more;
            let [high, low] = group.to_be_bytes();
            self.sink.put(&[state.bits(), 0, high, low]);
        }
        self.sink.patch(start.saturating_add(3), &[count]);
        self.segments = self.segments.saturating_add(1);
        Ok(())
    }

    /// Bytes written.
    ///
    /// # Errors
    ///
    /// The buffer is too small, or the segments are too many for the length fields.
    pub fn finish(mut self) -> Result<usize, WireError> {
        self.set_length()?;
        self.sink.finish("referrals")
    }

    /// The data cut where the buffer ends, as the allocation length cuts it.
    ///
    /// # Errors
    ///
    /// The segments are too many for the length fields.
    pub fn finish_truncated(mut self) -> Result<Written, WireError> {
        self.set_length()?;
        Ok(self.sink.written())
    }

    fn set_length(&mut self) -> Result<(), WireError> {
        if !self.in_sense {
            let length = short_length_field(self.sink.total(), 4, REPORT_LENGTH, 2)?;
            self.sink.patch(2, &length);
            return Ok(());
        }
        let length = self.sink.total().saturating_sub(2);
        let (Ok(short), Ok(count)) = (u8::try_from(length), u8::try_from(self.segments)) else {
            let found = u32::try_from(length).unwrap_or(u32::MAX);
            let rule = Rule::Value { found, expected: "at most 255" };
            return Err(WireError::new("additional length", 1, rule));
        };
        self.sink.patch(1, &[short]);
        self.sink.patch(3, &[count]);
        Ok(())
    }
}

const REPORT_LENGTH: &str = "user data segment referral descriptor length";
const SEGMENT: usize = 20;
const GROUP: usize = 4;
