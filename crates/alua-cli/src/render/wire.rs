//! Data from the wire as people and programs read it: what `rtpg`, `inquiry` and `decode` show.
//! Parsing is alua-core's.

use std::fmt::{self, Write as _};

use alua_core::identity::{Identity, UnitName};
use alua_core::sense::{Disposition, Meaning, Recheck, meaning};
use alua_core::spc::cdb::ReportFormat;
use alua_core::spc::designator::{
    Association, CodeSet, Designator, DesignatorKind, DeviceIdentification,
};
use alua_core::spc::inquiry::{
    DEVICE_IDENTIFICATION, SUPPORTED_PAGES, StandardInquiry, SupportedPages, UNIT_SERIAL_NUMBER,
    UnitSerial, VpdPage,
};
use alua_core::spc::sense::{Sense, SenseFormat, descriptors};
use alua_core::spc::target_port_groups::Report;
use alua_core::spc::{Ascii, WireError};
use serde::Serialize;

use super::style::{self, FAINT, STRONG, paint};
use super::table::span;
use crate::error::sense_text;
use crate::target::trace::hex;
use crate::view::{CauseView, SCHEMA, SchemaVersion, TransitionView, status_name};

/// Decoded data, with where it comes from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Decoded {
    schema_version: SchemaVersion,
    device: Option<String>,
    #[serde(flatten)]
    content: Content,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Content {
    Report(ReportView),
    Standard(StandardView),
    Identification(IdentificationView),
    Page(PageView),
    Sense(SenseDataView),
}

#[derive(Clone, Debug, Serialize)]
struct ReportView {
    format: &'static str,
    return_data_length: u32,
    header_not_counted: bool,
    implicit_transition_secs: Option<u8>,
    groups: Vec<ReportGroupView>,
}

#[derive(Clone, Debug, Serialize)]
struct ReportGroupView {
    id: u16,
    state: String,
    state_code: u8,
    preferred: bool,
    supported: Vec<&'static str>,
    supported_byte: u8,
    status: &'static str,
    status_code: u8,
    vendor_byte: u8,
    ports: Vec<u16>,
    transition: Option<TransitionView>,
    cause: CauseView,
}

#[derive(Clone, Debug, Serialize)]
struct StandardView {
    peripheral_qualifier: u8,
    device_type: u8,
    version: u8,
    vendor: String,
    product: String,
    revision: String,
    tpgs: &'static str,
    third_party_copy: bool,
    protect: bool,
    multi_port: bool,
}

#[derive(Clone, Debug, Serialize)]
struct IdentificationView {
    page: u8,
    name: Option<String>,
    group: Option<u16>,
    relative_port: Option<u16>,
    contradiction: Option<String>,
    designators: Vec<DesignatorView>,
}

#[derive(Clone, Debug, Serialize)]
struct DesignatorView {
    association: &'static str,
    kind: String,
    code_set: String,
    protocol: Option<u8>,
    value: String,
    bytes: String,
}

#[derive(Clone, Debug, Serialize)]
struct PageView {
    page: u8,
    pages: Option<Vec<u8>>,
    serial: Option<String>,
    bytes: String,
}

#[derive(Clone, Debug, Serialize)]
struct SenseDataView {
    format: &'static str,
    deferred: bool,
    key: u8,
    asc: u8,
    ascq: u8,
    text: String,
    information: Option<u64>,
    progress_percent: Option<u8>,
    field_pointer: Option<String>,
    meaning: MeaningView,
    descriptors: Vec<SenseDescriptorView>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct MeaningView {
    pub(crate) text: &'static str,
    pub(crate) state: Option<&'static str>,
    pub(crate) command: &'static str,
    pub(crate) not_executed: bool,
    pub(crate) read_again: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct SenseDescriptorView {
    #[serde(rename = "type")]
    kind: u8,
    bytes: String,
}

impl Decoded {
    /// REPORT TARGET PORT GROUPS data.
    pub(crate) fn rtpg(device: Option<&str>, bytes: &[u8]) -> Result<Self, WireError> {
        let report = Report::parse(bytes)?;
        let text = match device {
            Some(device) => format!("reported through {device}"),
            None => "in the data".to_owned(),
        };
        let groups = report.groups().map(|group| ReportGroupView {
            id: group.id,
            state: group.state.to_string(),
            state_code: group.state.bits(),
            preferred: group.preferred,
            supported: group.supported.iter().map(|state| state.name()).collect(),
            supported_byte: group.supported.bits(),
            status: status_name(group.status),
            status_code: group.status.bits(),
            vendor_byte: group.vendor,
            ports: group.ports.collect(),
            transition: None,
            cause: CauseView {
                kind: "report".into(),
                text: text.clone(),
                device: device.map(str::to_owned),
                age_ms: None,
                sense: None,
            },
        });
        let view = ReportView {
            format: match report.format() {
                ReportFormat::LengthOnly => "length only",
                ReportFormat::Extended => "extended",
            },
            return_data_length: Report::needed_length(bytes)?.saturating_sub(4),
            header_not_counted: report.header_not_counted(),
            implicit_transition_secs: report.implicit_transition_secs(),
            groups: groups.collect(),
        };
        Ok(Self::new(device, Content::Report(view)))
    }

    /// Standard INQUIRY data.
    pub(crate) fn inquiry(device: Option<&str>, bytes: &[u8]) -> Result<Self, WireError> {
        let data = StandardInquiry::parse(bytes)?;
        let view = StandardView {
            peripheral_qualifier: data.peripheral_qualifier,
            device_type: data.device_type,
            version: data.version,
            vendor: data.vendor_str().to_string().trim().to_owned(),
            product: data.product_str().to_string().trim().to_owned(),
            revision: data.revision_str().to_string().trim().to_owned(),
            tpgs: data.tpgs.name(),
            third_party_copy: data.third_party_copy,
            protect: data.protect,
            multi_port: data.multi_port,
        };
        Ok(Self::new(device, Content::Standard(view)))
    }

    /// A VPD page.
    pub(crate) fn vpd(device: Option<&str>, page: u8, bytes: &[u8]) -> Result<Self, WireError> {
        let content = match page {
            DEVICE_IDENTIFICATION => Content::Identification(identification(bytes)?),
            page => {
                let whole = VpdPage::new(bytes, page)?;
                let (mut pages, mut serial) = (None, None);
                if page == SUPPORTED_PAGES {
                    pages = Some(SupportedPages::new(bytes)?.iter().collect());
                }
                if page == UNIT_SERIAL_NUMBER {
                    serial = Some(UnitSerial::new(bytes)?.serial().to_string().trim().to_owned());
                }
                Content::Page(PageView { page, pages, serial, bytes: hex(whole.payload()) })
            }
        };
        Ok(Self::new(device, content))
    }

    /// Sense data.
    pub(crate) fn sense(bytes: &[u8]) -> Result<Self, WireError> {
        let sense = Sense::parse(bytes)?;
        let view = SenseDataView {
            format: match sense.format {
                SenseFormat::Fixed => "fixed",
                SenseFormat::Descriptor => "descriptor",
            },
            deferred: sense.deferred,
            key: sense.key.bits(),
            asc: sense.asc,
            ascq: sense.ascq,
            text: sense_text(&sense),
            information: sense.information,
            progress_percent: sense
                .progress
                .map(|part| u8::try_from(u32::from(part) * 100 / 65_536).unwrap_or(100)),
            field_pointer: sense.field_pointer.map(|pointer| {
                let place = if pointer.in_cdb { "CDB" } else { "parameter data" };
                match pointer.bit {
                    Some(bit) => format!("{place} byte {} bit {bit}", pointer.byte),
                    None => format!("{place} byte {}", pointer.byte),
                }
            }),
            meaning: MeaningView::of(&meaning(&sense)),
            descriptors: sense_descriptors(&sense, bytes)?,
        };
        Ok(Self::new(None, Content::Sense(view)))
    }

    fn new(device: Option<&str>, content: Content) -> Self {
        Self { schema_version: SCHEMA, device: device.map(str::to_owned), content }
    }
}

fn sense_descriptors(sense: &Sense, bytes: &[u8]) -> Result<Vec<SenseDescriptorView>, WireError> {
    if sense.format != SenseFormat::Descriptor {
        return Ok(Vec::new());
    }
    descriptors(bytes)
        .map(|descriptor| {
            descriptor.map(|descriptor| SenseDescriptorView {
                kind: descriptor.kind,
                bytes: hex(descriptor.body),
            })
        })
        .collect()
}

impl MeaningView {
    /// A row of the core's sense table in words.
    pub(crate) fn of(meaning: &Meaning) -> Self {
        let mut read_again = Vec::new();
        for (what, word) in [
            (Recheck::STATES, "access states"),
            (Recheck::IDENTITY, "identity"),
            (Recheck::CAPACITY, "capacity"),
        ] {
            if meaning.recheck.contains(what) {
                read_again.push(word);
            }
        }
        Self {
            text: meaning.text,
            state: meaning.state.map(|state| state.name()),
            command: match meaning.disposition {
                Disposition::RetryHere => "retry on this path",
                Disposition::RetryElsewhere => "retry on another path",
                Disposition::Wait => "wait, or use another path",
                Disposition::Fail => "fail",
                Disposition::HandOn => "left to general error handling",
            },
            not_executed: meaning.not_executed,
            read_again,
        }
    }
}

fn identification(bytes: &[u8]) -> Result<IdentificationView, WireError> {
    let page = DeviceIdentification::new(bytes)?;
    let (identity, contradiction) = match Identity::from_page(&page) {
        Ok(identity) => (identity, None),
        Err(error) => (Identity::default(), Some(error.to_string())),
    };
    Ok(IdentificationView {
        page: DEVICE_IDENTIFICATION,
        name: identity.name.map(|name| name.to_string()),
        group: identity.group,
        relative_port: identity.relative_port,
        contradiction,
        designators: page.iter().map(|designator| DesignatorView::of(&designator)).collect(),
    })
}

impl DesignatorView {
    fn of(designator: &Designator<'_>) -> Self {
        Self {
            association: match designator.association {
                Association::LogicalUnit => "logical unit",
                Association::TargetPort => "target port",
                Association::TargetDevice => "target device",
                Association::Reserved => "reserved",
            },
            kind: match designator.kind {
                DesignatorKind::VendorSpecific => "vendor specific".to_owned(),
                DesignatorKind::T10Vendor => "T10 vendor ID".to_owned(),
                DesignatorKind::Eui64 => "EUI-64".to_owned(),
                DesignatorKind::Naa => "NAA".to_owned(),
                DesignatorKind::RelativeTargetPort => "relative target port".to_owned(),
                DesignatorKind::TargetPortGroup => "target port group".to_owned(),
                DesignatorKind::LogicalUnitGroup => "logical unit group".to_owned(),
                DesignatorKind::Md5 => "MD5 logical unit identifier".to_owned(),
                DesignatorKind::ScsiName => "SCSI name string".to_owned(),
                DesignatorKind::ProtocolSpecificPort => "protocol specific port".to_owned(),
                DesignatorKind::Uuid => "UUID".to_owned(),
                DesignatorKind::Reserved(kind) => format!("reserved type {kind:X}h"),
            },
            code_set: match designator.code_set {
                CodeSet::Binary => "binary".to_owned(),
                CodeSet::Ascii => "ASCII".to_owned(),
                CodeSet::Utf8 => "UTF-8".to_owned(),
                CodeSet::Reserved(code) => format!("reserved ({code:X}h)"),
            },
            protocol: designator.protocol,
            value: value_of(designator),
            bytes: hex(designator.payload),
        }
    }
}

/// The value as people write it.
fn value_of(designator: &Designator<'_>) -> String {
    let number = designator.relative_target_port().or_else(|| designator.target_port_group());
    match (number, UnitName::from_designator(designator)) {
        (Some(Ok(number)), _) => number.to_string(),
        (Some(Err(error)), _) | (None, Some(Err(error))) => format!("malformed: {error}"),
        (None, Some(Ok(name))) => name.to_string(),
        (None, None) => match designator.code_set {
            CodeSet::Ascii | CodeSet::Utf8 => Ascii(designator.payload).to_string(),
            _ => hex(designator.payload),
        },
    }
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(device) = &self.device {
            write!(f, "{}: ", paint(STRONG, device))?;
        }
        match &self.content {
            Content::Report(view) => view.fmt(f),
            Content::Standard(view) => view.fmt(f),
            Content::Identification(view) => view.fmt(f),
            Content::Page(view) => view.fmt(f),
            Content::Sense(view) => view.fmt(f),
        }
    }
}

impl fmt::Display for ReportView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} target port groups, {} header", self.groups.len(), self.format)?;
        match self.implicit_transition_secs {
            Some(secs) => writeln!(f, ", a transition may take {}", span(u64::from(secs) * 1_000))?,
            None => writeln!(f, ", no transition time given")?,
        }
        if self.header_not_counted {
            let text = "the target does not count the extended header: the last four bytes are not \
                        there (--short reads all)";
            writeln!(f, "  {}", paint(style::WAIT, text))?;
        }
        for group in &self.groups {
            let style = style::of_state(Some(&group.state));
            write!(f, "  group {}: {}", group.id, paint(style, &group.state))?;
            if group.preferred {
                f.write_str(", preferred")?;
            }
            f.write_char('\n')?;
            let supported = match group.supported.as_slice() {
                [] => "nothing".to_owned(),
                states => states.join(", "),
            };
            writeln!(f, "    supports  {supported} ({:02X}h)", group.supported_byte)?;
            let ports: Vec<String> = group.ports.iter().map(ToString::to_string).collect();
            let ports = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
            writeln!(f, "    ports     {ports}")?;
            match group.status_code {
                0 => writeln!(f, "    status    none given")?,
                code => writeln!(f, "    status    {} ({code:02X}h)", group.status)?,
            }
            if group.vendor_byte != 0 {
                writeln!(f, "    vendor    {:02X}h", group.vendor_byte)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for StandardView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{},{} {}", self.vendor, self.product, self.revision)?;
        writeln!(f, "  device type           {:02X}h", self.device_type)?;
        writeln!(f, "  peripheral qualifier  {}", self.peripheral_qualifier)?;
        writeln!(f, "  version               {:02X}h", self.version)?;
        writeln!(f, "  ALUA (TPGS)           {}", self.tpgs)?;
        let yes = |flag| if flag { "yes" } else { "no" };
        writeln!(f, "  several ports         {}", yes(self.multi_port))?;
        writeln!(f, "  third-party copy      {}", yes(self.third_party_copy))?;
        writeln!(f, "  protection            {}", yes(self.protect))
    }
}

impl fmt::Display for IdentificationView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |number: Option<u16>| number.map_or("none".to_owned(), |n| n.to_string());
        writeln!(f, "device identification (page 83h)")?;
        writeln!(f, "  logical unit          {}", self.name.as_deref().unwrap_or("no name"))?;
        writeln!(f, "  target port group     {}", text(self.group))?;
        writeln!(f, "  relative target port  {}", text(self.relative_port))?;
        if let Some(contradiction) = &self.contradiction {
            writeln!(f, "  {}", paint(style::BAD, contradiction))?;
        }
        writeln!(f, "  designators:")?;
        for one in &self.designators {
            write!(f, "    {:<13}  {}: {}", one.association, one.kind, one.value)?;
            writeln!(f, "  {}", paint(FAINT, &format!("({})", one.code_set)))?;
        }
        Ok(())
    }
}

impl fmt::Display for PageView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.pages, &self.serial) {
            (Some(pages), _) => {
                let pages: Vec<String> = pages.iter().map(|page| format!("{page:02X}h")).collect();
                writeln!(f, "supported VPD pages: {}", pages.join(" "))
            }
            (_, Some(serial)) => writeln!(f, "unit serial number: {serial}"),
            _ => writeln!(f, "VPD page {:02X}h: {}", self.page, self.bytes),
        }
    }
}

impl fmt::Display for SenseDataView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", paint(STRONG, &self.text))?;
        writeln!(
            f,
            "  format       {}{}",
            self.format,
            if self.deferred { ", deferred" } else { "" }
        )?;
        if let Some(information) = self.information {
            writeln!(f, "  information  {information} ({information:X}h)")?;
        }
        if let Some(percent) = self.progress_percent {
            writeln!(f, "  progress     {percent} %")?;
        }
        if let Some(pointer) = &self.field_pointer {
            writeln!(f, "  field        {pointer}")?;
        }
        for descriptor in &self.descriptors {
            writeln!(f, "  descriptor   type {:02X}h: {}", descriptor.kind, descriptor.bytes)?;
        }
        writeln!(f, "  for ALUA     {}", self.meaning.text)?;
        if let Some(state) = self.meaning.state {
            writeln!(f, "  path state   {}", paint(style::of_state(Some(state)), state))?;
        }
        let executed = if self.meaning.not_executed { "; it was not executed" } else { "" };
        writeln!(f, "  the command  {}{executed}", self.meaning.command)?;
        if !self.meaning.read_again.is_empty() {
            writeln!(f, "  read again   {}", self.meaning.read_again.join(", "))?;
        }
        Ok(())
    }
}

/// Offset, sixteen bytes, and what of them can be printed.
pub(crate) fn hex_dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (row, chunk) in bytes.chunks(16).enumerate() {
        let (left, right) = chunk.split_at(chunk.len().min(8));
        let text = format!("{}  {}", hex(left), hex(right));
        let _ = writeln!(out, "{:04x}  {text:<49}  {}", row * 16, Ascii(chunk));
    }
    out
}
