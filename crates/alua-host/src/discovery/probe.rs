//! Reading one device through a transport.

use std::thread;

use alua_core::spc::Status;
use alua_core::spc::cdb::{Cdb, opcode};
use alua_core::spc::inquiry::{
    DEVICE_IDENTIFICATION, REFERRALS, SUPPORTED_PAGES, StandardInquiry, SupportedPages,
    UNIT_SERIAL_NUMBER, UnitSerial, VpdPage,
};
use alua_core::spc::referrals::SegmentLayout;
use alua_core::spc::sense::{Sense, SenseKey};

use super::{Options, Step, StepError};
use crate::transport::{Data, Reply, Request, Transport};

/// Allocation length of standard INQUIRY: 96 bytes are what SPC-5 names, all devices take more
/// than the mandatory 36.
const INQUIRY_LENGTH: u16 = 96;

/// Allocation length at which a page is first asked for. Old devices look at one byte of the field.
const PAGE_LENGTH: u16 = 252;

/// The size of a logical unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Capacity {
    /// Logical blocks.
    pub blocks: u64,
    /// Bytes in one.
    pub block_length: u32,
}

impl Capacity {
    /// Bytes in all.
    #[must_use]
    pub fn bytes(&self) -> u128 {
        u128::from(self.blocks) * u128::from(self.block_length)
    }
}

/// What a device said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Standard INQUIRY data.
    pub inquiry: StandardInquiry,
    /// The serial number of page 80h.
    pub serial: Option<String>,
    /// Page 83h, whole, its header included. Not looked into yet.
    pub page_83h: Option<Vec<u8>>,
    /// The size, when it was asked for.
    pub capacity: Option<Capacity>,
    /// How blocks are divided among target port groups, when the capacity was asked for and the
    /// device has page B3h.
    pub referrals: Option<SegmentLayout>,
    /// What could not be read.
    pub missing: Vec<(Step, StepError)>,
}

/// Asks a device what it is. `with_capacity`: READ CAPACITY and page B3h too.
///
/// The first step without an answer (not: with a refusal) is the last one: a device that does not
/// answer costs one timeout, not five. The number of commands sent comes beside the result.
///
/// # Errors
///
/// The standard INQUIRY gave nothing.
pub fn probe<T: Transport + ?Sized>(
    transport: &mut T,
    with_capacity: bool,
    options: &Options,
) -> (Result<Probe, StepError>, u64) {
    let mut asker = Asker { transport, options, commands: 0 };
    let result = asker.probe(with_capacity);
    (result, asker.commands)
}

struct Asker<'a, T: ?Sized> {
    transport: &'a mut T,
    options: &'a Options,
    commands: u64,
}

impl<T: Transport + ?Sized> Asker<'_, T> {
    fn probe(&mut self, with_capacity: bool) -> Result<Probe, StepError> {
        let bytes = self.inquiry(None, INQUIRY_LENGTH)?;
        let inquiry = StandardInquiry::parse(&bytes).map_err(StepError::Malformed)?;
        let mut probe = Probe {
            inquiry,
            serial: None,
            page_83h: None,
            capacity: None,
            referrals: None,
            missing: Vec::new(),
        };
        if inquiry.peripheral_qualifier == 0 {
            let steps = [Step::SupportedPages, Step::UnitSerial, Step::Identification];
            let mut listed = None;
            let sizes = [Step::Capacity, Step::Referrals].into_iter().filter(|_| with_capacity);
            for step in steps.into_iter().chain(sizes) {
                let Err(error) = self.step(step, &mut listed, &mut probe) else { continue };
                let silent = matches!(error, StepError::Transport(_));
                probe.missing.push((step, error));
                if silent {
                    break;
                }
            }
        }
        Ok(probe)
    }

    fn step(
        &mut self,
        step: Step,
        listed: &mut Option<Vec<u8>>,
        probe: &mut Probe,
    ) -> Result<(), StepError> {
        match step {
            Step::Inquiry => {}
            Step::SupportedPages => {
                let page = self.page(SUPPORTED_PAGES)?;
                let pages = SupportedPages::new(&page).map_err(StepError::Malformed)?;
                *listed = Some(pages.iter().collect());
            }
            Step::UnitSerial => {
                let page = self.listed_page(UNIT_SERIAL_NUMBER, listed.as_deref())?;
                let serial = UnitSerial::new(&page).map_err(StepError::Malformed)?;
                let text = serial.serial().to_string().trim().to_owned();
                probe.serial = (!text.is_empty()).then_some(text);
            }
            Step::Identification => {
                probe.page_83h = Some(self.listed_page(DEVICE_IDENTIFICATION, listed.as_deref())?);
            }
            Step::Capacity => probe.capacity = Some(self.capacity()?),
            // Few have it: it is not asked for in the blind.
            Step::Referrals if listed.as_ref().is_some_and(|it| it.contains(&REFERRALS)) => {
                let page = self.page(REFERRALS)?;
                let layout = SegmentLayout::parse(&page).map_err(StepError::Malformed)?;
                probe.referrals = Some(layout);
            }
            Step::Referrals => {}
        }
        Ok(())
    }

    /// A page, unless page 00h was read and does not name it.
    fn listed_page(&mut self, code: u8, listed: Option<&[u8]>) -> Result<Vec<u8>, StepError> {
        if listed.is_some_and(|listed| !listed.contains(&code)) {
            return Err(StepError::NotListed);
        }
        self.page(code)
    }

    /// A page, whole, and checked to be that page.
    fn page(&mut self, code: u8) -> Result<Vec<u8>, StepError> {
        let mut bytes = self.inquiry(Some(code), PAGE_LENGTH)?;
        let need = VpdPage::needed_length(&bytes).map_err(StepError::Malformed)?;
        if need > u32::from(PAGE_LENGTH) {
            let length = u16::try_from(need).unwrap_or(u16::MAX);
            bytes = self.inquiry(Some(code), length)?;
        }
        let page = VpdPage::new(&bytes, code).map_err(StepError::Malformed)?;
        let whole = page.payload().len().saturating_add(4);
        bytes.truncate(whole);
        Ok(bytes)
    }

    fn inquiry(&mut self, page: Option<u8>, allocation_length: u16) -> Result<Vec<u8>, StepError> {
        let cdb = Cdb::Inquiry { page, allocation_length }.encode();
        self.read(cdb.as_bytes(), usize::from(allocation_length))
    }

    fn capacity(&mut self) -> Result<Capacity, StepError> {
        let mut cdb = [0; 16];
        cdb[0] = opcode::SERVICE_ACTION_IN_16;
        cdb[1] = opcode::READ_CAPACITY_16;
        cdb[13] = 32;
        match self.read(&cdb, 32) {
            Ok(data) => return capacity_16(&data),
            Err(StepError::Refused { sense: Some(sense), .. })
                if sense.key == SenseKey::IllegalRequest => {}
            Err(error) => return Err(error),
        }
        let mut cdb = [0; 10];
        cdb[0] = opcode::READ_CAPACITY_10;
        capacity_10(&self.read(&cdb, 8)?)
    }

    /// The data of a command that ends with GOOD.
    fn read(&mut self, cdb: &[u8], length: usize) -> Result<Vec<u8>, StepError> {
        let mut buffer = vec![0; length];
        let mut repeats = self.options.repeats;
        loop {
            self.commands += 1;
            let timeout_ms = self.options.command_timeout_ms;
            let request = Request { cdb, data: Data::In(&mut buffer), timeout_ms };
            let reply = self.transport.execute(request)?;
            if reply.status == Status::Good {
                buffer.truncate(reply.transferred);
                return Ok(buffer);
            }
            let sense = sense_of(&reply);
            let attention = sense.is_some_and(|sense| sense.key == SenseKey::UnitAttention);
            let busy = matches!(reply.status, Status::Busy | Status::TaskSetFull);
            if repeats == 0 || !(attention || busy) {
                return Err(StepError::Refused { status: reply.status, sense });
            }
            repeats -= 1;
            if busy {
                thread::sleep(self.options.busy_delay);
            }
        }
    }
}

fn sense_of(reply: &Reply) -> Option<Sense> {
    reply.parsed_sense()?.ok()
}

fn capacity_16(data: &[u8]) -> Result<Capacity, StepError> {
    let fields =
        data.first_chunk::<12>().ok_or_else(|| short("read capacity (16) data", 12, data))?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *fields;
    Ok(Capacity {
        blocks: u64::from_be_bytes([a, b, c, d, e, f, g, h]).saturating_add(1),
        block_length: u32::from_be_bytes([i, j, k, l]),
    })
}

fn capacity_10(data: &[u8]) -> Result<Capacity, StepError> {
    let fields =
        data.first_chunk::<8>().ok_or_else(|| short("read capacity (10) data", 8, data))?;
    let [a, b, c, d, e, f, g, h] = *fields;
    Ok(Capacity {
        blocks: u64::from(u32::from_be_bytes([a, b, c, d])) + 1,
        block_length: u32::from_be_bytes([e, f, g, h]),
    })
}

fn short(field: &'static str, need: usize, data: &[u8]) -> StepError {
    use alua_core::spc::{Rule, WireError};

    StepError::Malformed(WireError::new(field, 0, Rule::Truncated { need, have: data.len() }))
}
