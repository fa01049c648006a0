//! Referrals (SBC-3 and later, model clause "Referrals"): which target port groups to use for which
//! logical blocks of a logical unit whose groups are in the logical-block-dependent state. They
//! come in REPORT REFERRALS parameter data and in sense data (descriptor type 0Bh), with one and
//! the same descriptor.
//!
//! A descriptor names a first and a last logical block. What lies between them belongs to it only
//! as far as the [`SegmentLayout`] of the Referrals VPD page says: user data segments may be
//! striped over the groups.

use core::iter::FusedIterator;

use super::bytes::{Sink, Written, be16, be32, byte, claimed, header, short_length_field};
use super::inquiry::{REFERRALS, TYPE_DISK, VpdPage, VpdWriter};
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

    /// The descriptors, in the order of the data.
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
    /// A descriptor in it is not whole. The offset is counted from the start of the sense data
    /// descriptor, two bytes before the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let ([flags, _], segments) = header::<2>(body, "user data segment referral")?;
        check_segments(segments, 4)?;
        Ok(Self { not_all: flags & 0x01 != 0, segments })
    }

    /// NOT_ALL_R: there are more segments than the sense data could hold; REPORT REFERRALS tells
    /// of all.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.not_all
    }

    /// The descriptors, in the order of the data.
    #[must_use]
    pub const fn segments(&self) -> Segments<'a> {
        Segments { rest: self.segments }
    }
}

fn check_segments(mut rest: &[u8], mut offset: usize) -> Result<(), WireError> {
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
    }
    Ok(())
}

/// Iterator over user data segment referral descriptors.
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

/// A user data segment referral descriptor: one or more segments and the groups that reach them.
#[derive(Clone, Debug)]
pub struct ReferralDescriptor<'a> {
    /// The first logical block of the first segment.
    pub first_lba: u64,
    /// The last logical block of the last segment, as sent: a target may lie and put it before the
    /// first.
    pub last_lba: u64,
    /// The groups with their state for these blocks. SBC lists those that are optimized,
    /// non-optimized or transitioning, and perhaps the unavailable ones.
    pub groups: ReferralGroups<'a>,
}

impl ReferralDescriptor<'_> {
    /// Whether the block belongs to one of the descriptor's segments.
    #[must_use]
    pub fn contains(&self, lba: u64, layout: SegmentLayout) -> bool {
        if lba < self.first_lba || self.last_lba < lba {
            return false;
        }
        let stripe = u64::from(layout.size).saturating_mul(layout.multiplier.into());
        match lba.saturating_sub(self.first_lba).checked_rem(stripe) {
            Some(in_stripe) => in_stripe < u64::from(layout.size),
            // No size or no multiplier: all from the first block to the last.
            None => true,
        }
    }
}

/// How user data segments lie in a logical unit: the Referrals VPD page, B3h (SBC-3 and later).
///
/// The first block of the next segment of a descriptor is `size * multiplier` blocks after that of
/// the segment before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SegmentLayout {
    /// USER DATA SEGMENT SIZE in logical blocks; zero where each descriptor is one segment.
    pub size: u32,
    /// USER DATA SEGMENT MULTIPLIER; one where segments follow each other without a gap.
    pub multiplier: u32,
}

impl SegmentLayout {
    /// Bytes of the page.
    pub const LENGTH: usize = 16;

    /// Reads `data`, the bytes that were transferred of page B3h.
    ///
    /// # Errors
    ///
    /// Those of [`VpdPage::new`], or a page that is too short.
    pub fn parse(data: &[u8]) -> Result<Self, WireError> {
        let page = VpdPage::new(data, REFERRALS)?;
        let ([_, _, _, _, size @ .., _, _, _, _], _) =
            header::<12>(page.payload(), "referrals vpd page")?;
        let multiplier = be32(page.payload(), 8).unwrap_or(0);
        Ok(Self { size: u32::from_be_bytes(*size), multiplier })
    }

    /// Writes page B3h of a disk to `buffer` and gives its length.
    ///
    /// # Errors
    ///
    /// The buffer is too small.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, WireError> {
        let mut page = VpdWriter::new(buffer, TYPE_DISK, REFERRALS);
        page.put(&[0; 4]);
        page.put(&self.size.to_be_bytes());
        page.put(&self.multiplier.to_be_bytes());
        page.finish()
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

/// Writes user data segment referral descriptors, as REPORT REFERRALS data or in a sense data
/// descriptor.
#[derive(Debug)]
pub struct ReferralWriter<'b> {
    sink: Sink<'b>,
    in_sense: bool,
}

impl<'b> ReferralWriter<'b> {
    /// Starts REPORT REFERRALS parameter data in `buffer`, of any size.
    #[must_use]
    pub fn report(buffer: &'b mut [u8]) -> Self {
        let mut sink = Sink::new(buffer);
        sink.put(&[0; 4]);
        Self { sink, in_sense: false }
    }

    /// Starts a sense data descriptor in `buffer`, for
    /// [`Sense::emit_descriptor_with`](super::sense::Sense::emit_descriptor_with). `not_all` is
    /// NOT_ALL_R: the logical unit has more segments.
    #[must_use]
    pub fn sense(buffer: &'b mut [u8], not_all: bool) -> Self {
        let mut sink = Sink::new(buffer);
        sink.put(&[ReferralSense::KIND, 0, u8::from(not_all), 0]);
        Self { sink, in_sense: true }
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
        let Ok(short) = u8::try_from(length) else {
            let found = u32::try_from(length).unwrap_or(u32::MAX);
            let rule = Rule::Value { found, expected: "at most 255" };
            return Err(WireError::new("additional length", 1, rule));
        };
        self.sink.patch(1, &[short]);
        Ok(())
    }
}

const REPORT_LENGTH: &str = "user data segment referral descriptor length";
const SEGMENT: usize = 20;
const GROUP: usize = 4;
