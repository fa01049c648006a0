//! What sg3_utils say: sg_rtpg, sg_vpd and sg_inq, run on a path and read from their text.

use anyhow::{Context, Result, bail};

use crate::command::{self, LIMIT};
use crate::facts::{self, Statement, Statements};
use crate::scenario::State;
use crate::sysfs;
use crate::target::Place;

/// The exit status of sg3_utils for a unit attention: the command has to be sent again.
const UNIT_ATTENTION: i32 = 6;

/// One group in the answer of `sg_rtpg -d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its identifier.
    pub id: u16,
    /// PREF.
    pub preferred: bool,
    /// Its state.
    pub state: State,
    /// What it supports, by name, sorted.
    pub supported: Vec<&'static str>,
    /// The status code, in the words of `alua list`.
    pub status: &'static str,
    /// Its relative target ports.
    pub ports: Vec<u16>,
}

/// What sg_rtpg, sg_vpd and sg_inq state of one path and its unit. Without ALUA there is nothing
/// to say of groups, even where the target answers.
///
/// # Errors
///
/// A tool fails, or its text is not what is known of it.
pub fn statements(place: &Place, alua: bool) -> Result<Vec<Statement>> {
    let disk = sysfs::need_disk(&place.hctl)?;
    let mut all = Vec::new();
    let mut inquiry = Statements::by(format!("sg_inq {disk}"));
    state_inquiry(&run("sg_inq", &[], &disk)?, &place.unit, &mut inquiry)?;
    all.extend(inquiry.into_vec());
    if alua {
        let mut groups = Statements::by(format!("sg_rtpg {disk}"));
        state_groups(&parse_rtpg(&run("sg_rtpg", &["-d"], &disk)?)?, &place.unit, &mut groups);
        let extended = run("sg_rtpg", &["-e", "-d"], &disk)?;
        // 0 stands for "not said".
        let seconds = value_after::<u32>(&extended, "Implicit transition time: ");
        let seconds = seconds.filter(|seconds| *seconds != 0);
        groups.state_some(
            &place.unit,
            "transition time",
            seconds.map(|s| format!("{} ms", s * 1000)),
        );
        all.extend(groups.into_vec());
    }
    let mut designators = Statements::by(format!("sg_vpd {disk}"));
    let supported = run("sg_vpd", &["-p", "sv"], &disk)?;
    if supported.contains("[di]") || supported.contains("Device identification") {
        state_designators(&run("sg_vpd", &["-p", "di"], &disk)?, place, alua, &mut designators);
    }
    all.extend(designators.into_vec());
    Ok(all)
}

/// Runs a tool on a disk, again while it meets a unit attention.
///
/// # Errors
///
/// It fails.
pub fn run(tool: &str, options: &[&str], disk: &str) -> Result<String> {
    let device = format!("/dev/{disk}");
    let arguments: Vec<&str> = options.iter().copied().chain([device.as_str()]).collect();
    for _ in 0..4 {
        let output = command::run(tool, &arguments, LIMIT)?;
        match output.status {
            0 => return Ok(output.stdout),
            UNIT_ATTENTION => {}
            status => {
                bail!("{tool} {} ended with {status}: {}", arguments.join(" "), output.said())
            }
        }
    }
    bail!("{tool} {}: unit attention without end", arguments.join(" "))
}

/// TEST UNIT READY by `sg_raw`: its exit status. (sg_turs of sg3_utils 1.48 sends nothing.)
///
/// # Errors
///
/// It cannot be run.
pub fn test_unit_ready(disk: &str) -> Result<i32> {
    let device = format!("/dev/{disk}");
    Ok(command::run("sg_raw", &[&device, "00", "00", "00", "00", "00", "00"], LIMIT)?.status)
}

fn state_groups(groups: &[Group], unit: &str, said: &mut Statements) {
    for group in groups {
        let name = facts::group(unit, group.id);
        said.state(&name, "state", group.state.name());
        said.state(&name, "preferred", group.preferred);
        said.state(&name, "supported states", group.supported.join(" "));
        said.state(&name, "status", group.status);
        let ports: Vec<String> = group.ports.iter().map(u16::to_string).collect();
        said.state(&name, "ports", ports.join(" "));
    }
    let mut ids: Vec<u16> = groups.iter().map(|group| group.id).collect();
    ids.sort_unstable();
    let ids: Vec<String> = ids.iter().map(u16::to_string).collect();
    said.state(unit, "groups", ids.join(" "));
}

fn state_inquiry(text: &str, unit: &str, said: &mut Statements) -> Result<()> {
    let tpgs: u8 = value_after(text, "TPGS=").context("sg_inq shows no TPGS")?;
    let name = ["none", "implicit", "explicit", "implicit and explicit"];
    said.state(unit, "tpgs", name.get(usize::from(tpgs)).context("sg_inq: TPGS above 3")?);
    for (property, label) in [
        ("vendor", "Vendor identification:"),
        ("product", "Product identification:"),
        ("revision", "Product revision level:"),
        ("serial", "Unit serial number:"),
    ] {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        said.state_some(unit, property, line.map(str::trim).filter(|value| !value.is_empty()));
    }
    Ok(())
}

fn state_designators(text: &str, place: &Place, alua: bool, said: &mut Statements) {
    let path = facts::path(&place.unit, place.port);
    // The first NAA designator of the logical unit is its name.
    let of_unit = text.split("Target port:").next().unwrap_or_default();
    let naa = of_unit.split("designator type: NAA").nth(1);
    let naa = naa.and_then(|after| after.lines().map(str::trim).find_map(|l| l.strip_prefix("0x")));
    said.state_some(&place.unit, "name", naa.map(|digits| format!("naa.{digits}")));
    if alua {
        said.state_some(&path, "group", hex_after(text, "Target port group: 0x"));
        said.state_some(&path, "relative port", hex_after(text, "Relative target port: 0x"));
    }
}

/// Reads the text of `sg_rtpg -d`.
///
/// # Errors
///
/// It is not as known.
pub fn parse_rtpg(text: &str) -> Result<Vec<Group>> {
    text.split("target port group id : ").skip(1).map(parse_group).collect()
}

fn parse_group(text: &str) -> Result<Group> {
    let about = || format!("sg_rtpg: cannot read {text:?}");
    let id = hex_after(text, "0x").with_context(about)?;
    let preferred: u8 = value_after(text, "Pref=").with_context(about)?;
    let code = hex_after(text, "asymmetric access state : 0x").with_context(about)?;
    let state = u8::try_from(code).ok().and_then(State::from_code).with_context(about)?;
    let mut supported = Vec::new();
    for (label, state) in [
        ("T_SUP", State::Transitioning),
        ("O_SUP", State::Offline),
        ("LBD_SUP", State::LbaDependent),
        ("U_SUP", State::Unavailable),
        ("S_SUP", State::Standby),
        ("AN_SUP", State::ActiveNonOptimized),
        ("AO_SUP", State::ActiveOptimized),
    ] {
        // A space or the line's start before it: `AO_SUP` ends like `O_SUP`.
        if value_after::<u8>(text, &format!(" {label} : ")).with_context(about)? == 1 {
            supported.push(state.name());
        }
    }
    supported.sort_unstable();
    let status = match hex_after(text, "status code : 0x").with_context(about)? {
        0 => "none",
        1 => "set target port groups",
        2 => "implicit",
        _ => "reserved",
    };
    let ports = text.split("Relative target port ids:").nth(1).unwrap_or_default();
    let ports = ports.lines().filter_map(|line| line.trim().strip_prefix("0x"));
    let ports = ports.filter_map(|digits| u16::from_str_radix(digits, 16).ok()).collect();
    Ok(Group { id, preferred: preferred == 1, state, supported, status, ports })
}

/// The decimal number after a label.
fn value_after<T: std::str::FromStr>(text: &str, label: &str) -> Option<T> {
    let after = text.split_once(label)?.1;
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..end].parse().ok()
}

/// The hexadecimal number after a label.
fn hex_after(text: &str, label: &str) -> Option<u16> {
    let after = text.split_once(label)?.1;
    let end = after.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(after.len());
    u16::from_str_radix(&after[..end], 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTPG: &str = "Report target port groups:
  target port group id : 0x1 , Pref=1, Rtpg_fmt=0
    target port group asymmetric access state : 0x02 (standby)
    T_SUP : 1, O_SUP : 1, LBD_SUP : 0, U_SUP : 1, S_SUP : 1, AN_SUP : 1, AO_SUP : 0
    status code : 0x02 (target port asym. state changed by implicit lu behaviour)
    vendor unique status : 0x00
    target port count : 02
    Relative target port ids:
      0x01
      0x1f
  target port group id : 0x100 , Pref=0, Rtpg_fmt=0
    target port group asymmetric access state : 0x00 (active/optimized)
    T_SUP : 0, O_SUP : 0, LBD_SUP : 0, U_SUP : 0, S_SUP : 0, AN_SUP : 0, AO_SUP : 1
    status code : 0x00 (no status available)
    vendor unique status : 0x00
    target port count : 00
";

    #[test]
    fn the_text_of_sg_rtpg_is_read() {
        let groups = parse_rtpg(RTPG).unwrap();
        assert_eq!(
            groups[0],
            Group {
                id: 1,
                preferred: true,
                state: State::Standby,
                supported: vec![
                    "active/non-optimized",
                    "offline",
                    "standby",
                    "transitioning",
                    "unavailable"
                ],
                status: "implicit",
                ports: vec![1, 31],
            }
        );
        assert_eq!((groups[1].id, groups[1].supported.len()), (256, 1));
        assert!(groups[1].ports.is_empty());
    }

    #[test]
    fn the_text_of_sg_vpd_is_read() {
        let text = "Device Identification VPD page:
  Addressed logical unit:
    designator type: NAA,  code set: Binary
      0x60014050000d00000000000000000000
  Target port:
    designator type: Relative target port,  code set: Binary
      Relative target port: 0x2
    designator type: Target port group,  code set: Binary
      Target port group: 0x1f
";
        let place = Place { unit: "disk0".into(), port: 2, hctl: "1:0:1:0".into() };
        let mut said = Statements::by("sg_vpd sda");
        state_designators(text, &place, true, &mut said);
        let said: Vec<_> = said.into_vec().into_iter().map(|s| (s.fact, s.value)).collect();
        let want = [
            ("disk0: name", "naa.60014050000d00000000000000000000"),
            ("disk0 port 2: group", "31"),
            ("disk0 port 2: relative port", "2"),
        ];
        assert_eq!(said, want.map(|(fact, value)| (fact.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_text_of_sg_inq_is_read() {
        let text = "standard INQUIRY:\n  SCCS=1  ACC=0  TPGS=3  3PC=1\n \
                    Vendor identification: LIO-ORG \n Product identification: FILEIO    \n \
                    Product revision level: 4.0 \n Unit serial number: 12-lab\n";
        let mut said = Statements::by("sg_inq sda");
        state_inquiry(text, "disk0", &mut said).unwrap();
        let values: Vec<String> = said.into_vec().into_iter().map(|one| one.value).collect();
        assert_eq!(values, ["implicit and explicit", "LIO-ORG", "FILEIO", "4.0", "12-lab"]);
    }
}
