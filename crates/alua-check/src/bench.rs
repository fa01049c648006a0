//! What the checks work with: paths, one command at a time, and findings.

use alua_core::access::AccessState;
use alua_core::identity::Identity;
use alua_core::spc::cdb::{Cdb, ReportFormat};
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::inquiry::StandardInquiry;
use alua_core::spc::sense::SenseKey;
use alua_core::spc::target_port_groups::{GroupFields, Report, StpgDescriptor, encode_stpg};
use alua_core::spc::{Status, WireError};
use alua_core::time::Time;
use alua_host::driver::Clock;
use alua_host::transport::{Data, Request};

use crate::{Finding, Options, Path, Skipped};

/// Room for a report that lies about its length as well.
pub(crate) const ROOM: usize = 16 << 10;
/// Findings of one check that are kept.
const FINDINGS: usize = 8;
/// Unit attentions, and BUSY answers, that are passed over before one answer counts.
const PATIENCE: u32 = 12;

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// `None`: there was no answer of the device; `text` says why.
    pub(crate) status: Option<Status>,
    pub(crate) sense: Option<(SenseKey, u8, u8)>,
    pub(crate) data: Vec<u8>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn is_good(&self) -> bool {
        self.status == Some(Status::Good)
    }

    pub(crate) fn is(&self, key: SenseKey, asc: u8, ascq: u8) -> bool {
        self.sense == Some((key, asc, ascq))
    }

    pub(crate) fn is_attention(&self) -> bool {
        matches!(self.sense, Some((SenseKey::UnitAttention, ..)))
    }

    pub(crate) fn is_illegal(&self) -> bool {
        matches!(self.sense, Some((SenseKey::IllegalRequest, ..)))
    }

    /// A refusal by an access state: NOT READY 04/0A, 0B, 0C, 12, or BUSY, or a unit attention with
    /// 04/0A as some targets have it.
    pub(crate) fn is_refusal(&self) -> bool {
        self.status == Some(Status::Busy) || matches!(self.sense, Some((_, 0x04, _)))
    }

    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.status, Some(Status::Busy | Status::TaskSetFull))
    }
}

/// What RTPG said, parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) format: ReportFormat,
    pub(crate) transition_secs: Option<u8>,
    pub(crate) groups: Vec<(GroupFields, Vec<u16>)>,
    pub(crate) uncounted: bool,
}

impl Told {
    pub(crate) fn parse(data: &[u8]) -> Result<Self, WireError> {
        let report = Report::parse(data)?;
        Ok(Self {
            format: report.format(),
            transition_secs: report.implicit_transition_secs(),
            groups: report.groups().map(|g| (g.fields(), g.ports.clone().collect())).collect(),
            uncounted: report.header_not_counted(),
        })
    }

    pub(crate) fn group(&self, id: u16) -> Option<&GroupFields> {
        self.groups.iter().map(|(fields, _)| fields).find(|fields| fields.id == id)
    }

    /// The states by group, for people.
    pub(crate) fn states(&self) -> String {
        let one = |(g, _): &(GroupFields, Vec<u16>)| format!("group {}: {}", g.id, g.state);
        self.groups.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn in_transition(&self) -> bool {
        self.groups.iter().any(|(g, _)| g.state == AccessState::Transitioning)
    }
}

pub(crate) struct Bench<'a> {
    paths: Vec<Path>,
    pub(crate) options: Options,
    clock: &'a dyn Clock,
    findings: Vec<Finding>,
    more: usize,
    /// What was done before the commands that findings name, in words.
    before: String,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(paths: Vec<Path>, options: Options, clock: &'a dyn Clock) -> Self {
        Self { paths, options, clock, findings: Vec::new(), more: 0, before: String::new() }
    }

    pub(crate) fn paths(&self) -> std::ops::Range<usize> {
        0..self.paths.len()
    }

    /// A path whose unit attentions do not come through, by the name of what takes them.
    pub(crate) fn muffled(&self) -> Option<&str> {
        self.paths.iter().find_map(|path| path.handler.as_deref())
    }

    /// Bytes of a logical block; 512 where nobody tells. A read must ask for as much as its CDB
    /// moves: there are targets that fail it otherwise.
    pub(crate) fn block_size(&mut self) -> usize {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
        for path in self.paths() {
            let answer = self.ask(path, &cdb, &[], 32);
            if let (true, Some(&[a, b, c, d])) = (answer.is_good(), answer.data.get(8..12)) {
                return (u32::from_be_bytes([a, b, c, d]) as usize).clamp(1, 1 << 16);
            }
        }
        512
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(crate) fn wait_ms(&self, ms: u64) {
        let until = self.clock.now().as_millis().saturating_add(ms);
        self.clock.sleep_until(Time::from_millis(until));
    }

    /// The findings since the last call.
    pub(crate) fn take_findings(&mut self) -> Vec<Finding> {
        self.before.clear();
        let more = std::mem::take(&mut self.more);
        let mut findings = std::mem::take(&mut self.findings);
        if let (Some(last), true) = (findings.last_mut(), more > 0) {
            last.got.push_str(&format!(" (and {more} findings more)"));
        }
        findings
    }

    /// Notes that something is wrong.
    pub(crate) fn find(&mut self, path: usize, cdb: &[u8], got: &str, expected: &str) {
        if self.findings.len() == FINDINGS {
            self.more += 1;
            return;
        }
        let path = self.paths.get(path).map_or_else(String::new, |path| path.name.clone());
        let sent = format!("{}{}", self.before, shown(cdb));
        self.findings.push(Finding {
            path,
            sent,
            got: got.to_owned(),
            expected: expected.to_owned(),
        });
    }

    /// Asks for LOGICAL UNIT RESET through a path. Findings from now on, up to the end of the check,
    /// tell of it.
    pub(crate) fn reset_unit(&mut self, path: usize) -> Result<(), Skipped> {
        let Some(path) = self.paths.get_mut(path) else { return Err("no path".to_owned()) };
        path.line.reset_unit().map_err(|error| error.to_string())?;
        self.before = format!("LOGICAL UNIT RESET through {}, then ", path.name);
        Ok(())
    }

    /// Notes it unless the answer is as expected.
    pub(crate) fn want(
        &mut self,
        right: bool,
        path: usize,
        cdb: &[u8],
        answer: &Answer,
        expected: &str,
    ) {
        if !right {
            self.find(path, cdb, &answer.text, expected);
        }
    }

    /// One command, once.
    pub(crate) fn send(&mut self, path: usize, cdb: &[u8], out: &[u8], room: usize) -> Answer {
        let timeout_ms = self.options.timeout_ms;
        let mut buffer = vec![0; room];
        let data = match (out.is_empty(), room) {
            (false, _) => Data::Out(out),
            (true, 0) => Data::None,
            (true, _) => Data::In(&mut buffer),
        };
        let Some(path) = self.paths.get_mut(path) else {
            return Answer { status: None, sense: None, data: Vec::new(), text: "no path".into() };
        };
        match path.line.execute(Request { cdb, data, timeout_ms }) {
            Ok(reply) => {
                buffer.truncate(if out.is_empty() { reply.transferred.min(room) } else { 0 });
                let sense = match reply.parsed_sense() {
                    Some(Ok(sense)) if reply.status == Status::CheckCondition => {
                        Some(sense.codes())
                    }
                    _ => None,
                };
                let text = match sense {
                    Some((key, asc, ascq)) => {
                        format!("{} {key} {asc:02X}/{ascq:02X}", reply.status)
                    }
                    None if buffer.is_empty() => reply.status.to_string(),
                    None => format!("{}, {} bytes: {}", reply.status, buffer.len(), hex(&buffer)),
                };
                Answer { status: Some(reply.status), sense, data: buffer, text }
            }
            Err(error) => {
                Answer { status: None, sense: None, data: Vec::new(), text: error.to_string() }
            }
        }
    }

    /// One command until it is answered by something else than a unit attention, BUSY or a full
    /// queue. A target that stays BUSY is taken at its word.
    pub(crate) fn ask(&mut self, path: usize, cdb: &[u8], out: &[u8], room: usize) -> Answer {
        let mut answer = self.send(path, cdb, out, room);
        for _ in 0..PATIENCE {
            // A unit attention with 04/0A is a refusal in disguise.
            let attention = answer.is_attention() && !answer.is_refusal();
            let busy = answer.is_busy();
            if !attention && !busy {
                break;
            }
            if busy {
                self.wait_ms(10);
            }
            answer = self.send(path, cdb, out, room);
        }
        answer
    }

    pub(crate) fn tur(&mut self, path: usize) -> Answer {
        self.ask(path, Cdb::TestUnitReady.encode().as_bytes(), &[], 0)
    }

    /// RTPG: the CDB and the answer.
    pub(crate) fn rtpg(&mut self, path: usize, format: ReportFormat) -> (Vec<u8>, Answer) {
        let cdb = rtpg_cdb(format, ROOM);
        let answer = self.ask(path, &cdb, &[], ROOM);
        (cdb, answer)
    }

    /// What RTPG says through a path, with the format that the target takes. Patient with BUSY and
    /// with a few answers that cannot be read: those are the business of other checks.
    pub(crate) fn told(&mut self, path: usize) -> Result<Told, Skipped> {
        let mut why = String::new();
        for attempt in 0..24 {
            for format in [ReportFormat::Extended, ReportFormat::LengthOnly] {
                let (_, answer) = self.rtpg(path, format);
                if answer.is_good() {
                    match Told::parse(&answer.data) {
                        Ok(told) if told.groups.is_empty() => why = "no group in it".to_owned(),
                        Ok(told) => return Ok(told),
                        Err(error) => why = error.to_string(),
                    }
                } else {
                    why = answer.text;
                }
            }
            if attempt > 4 {
                self.wait_ms(50);
            }
        }
        Err(format!("REPORT TARGET PORT GROUPS gives nothing to work with: {why}"))
    }

    /// What RTPG says through whichever path answers.
    pub(crate) fn told_by_any(&mut self) -> Result<Told, Skipped> {
        let mut last = Err("there is no path".to_owned());
        for path in self.paths() {
            last = self.told(path);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    pub(crate) fn inquiry(&mut self, path: usize) -> Result<StandardInquiry, Skipped> {
        let cdb = Cdb::Inquiry { page: None, allocation_length: 96 }.encode();
        let answer = self.ask(path, cdb.as_bytes(), &[], 96);
        StandardInquiry::parse(&answer.data)
            .map_err(|error| format!("standard INQUIRY data: {error} ({})", answer.text))
    }

    /// Page 83h through a path.
    pub(crate) fn page_83(&mut self, path: usize) -> (Vec<u8>, Answer) {
        let cdb = Cdb::Inquiry { page: Some(0x83), allocation_length: 4096 }.encode();
        let answer = self.ask(path, cdb.as_bytes(), &[], 4096);
        (cdb.as_bytes().to_vec(), answer)
    }

    pub(crate) fn identity(&mut self, path: usize) -> Result<Identity, Skipped> {
        let (_, answer) = self.page_83(path);
        let page = DeviceIdentification::new(&answer.data)
            .map_err(|error| format!("page 83h: {error} ({})", answer.text))?;
        Identity::from_page(&page).map_err(|error| format!("page 83h: {error}"))
    }

    /// That all paths lead to one unit, for checks which would find nonsense otherwise.
    pub(crate) fn one_unit(&mut self) -> Result<(), Skipped> {
        let mut first = None;
        for path in self.paths() {
            let name = self.identity(path)?.name;
            if first.get_or_insert(name) != &name {
                return Err("the paths lead to different units: see same-unit".to_owned());
            }
        }
        Ok(())
    }

    /// Waits until no group is in transition; what RTPG says then.
    pub(crate) fn settled(&mut self) -> Result<Told, Skipped> {
        let begin = self.now().as_millis();
        loop {
            let told = self.told_by_any()?;
            if !told.in_transition() {
                return Ok(told);
            }
            let limit = self.limit_ms(&told);
            if self.now().as_millis().saturating_sub(begin) > limit {
                return Err("a transition does not end: see transition-ends".to_owned());
            }
            self.wait_ms(100);
        }
    }

    /// How long a transition may take, with a little on top.
    pub(crate) fn limit_ms(&self, told: &Told) -> u64 {
        let said = told.transition_secs.map(|secs| u64::from(secs) * 1_000);
        said.map_or(self.options.patience_ms, |ms| ms + 1_000)
    }

    /// SET TARGET PORT GROUPS, once past unit attentions: the CDB and the answer.
    pub(crate) fn stpg(&mut self, path: usize, wanted: &[(u16, AccessState)]) -> (Vec<u8>, Answer) {
        let descriptors: Vec<StpgDescriptor> =
            wanted.iter().map(|&(id, state)| StpgDescriptor { state, id }).collect();
        let mut list = vec![0; 4 + 4 * descriptors.len()];
        let length = encode_stpg(&descriptors, &mut list).unwrap_or(0);
        list.truncate(length);
        self.stpg_list(path, &list)
    }

    pub(crate) fn stpg_list(&mut self, path: usize, list: &[u8]) -> (Vec<u8>, Answer) {
        let length = u32::try_from(list.len()).unwrap_or(u32::MAX);
        let cdb = Cdb::SetTargetPortGroups { parameter_list_length: length }.encode();
        let answer = self.ask(path, cdb.as_bytes(), list, 0);
        (cdb.as_bytes().to_vec(), answer)
    }
}

pub(crate) fn rtpg_cdb(format: ReportFormat, allocation: usize) -> Vec<u8> {
    let allocation_length = u32::try_from(allocation).unwrap_or(u32::MAX);
    Cdb::ReportTargetPortGroups { format, allocation_length }.encode().as_bytes().to_vec()
}

/// A CDB with the name of its command.
fn shown(cdb: &[u8]) -> String {
    if cdb.is_empty() {
        return "nothing".to_owned();
    }
    let name = match (cdb[0], cdb.get(1).map(|byte| byte & 0x1f)) {
        (0x00, _) => "TEST UNIT READY",
        (0x03, _) => "REQUEST SENSE",
        (0x12, _) => "INQUIRY",
        (0x25, _) | (0x9e, Some(0x10)) => "READ CAPACITY",
        (0x28 | 0x88, _) => "READ",
        (0x2a | 0x8a, _) => "WRITE",
        (0x5e, _) => "PERSISTENT RESERVE IN",
        (0x5f, _) => "PERSISTENT RESERVE OUT",
        (0xa0, _) => "REPORT LUNS",
        (0xa3, Some(0x0a)) => "REPORT TARGET PORT GROUPS",
        (0xa4, Some(0x0a)) => "SET TARGET PORT GROUPS",
        _ => "command",
    };
    format!("{name} [{}]", hex(cdb))
}

/// Bytes in hex, the first of them where they are many.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    let more = if bytes.len() > 64 { " ..." } else { "" };
    format!("{}{more}", shown.join(" "))
}
