//! LIO through configfs: a unit is a file backstore, a port is a loop fabric (`tcm_loop`) with a SCSI
//! host of its own, or an iSCSI target.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Place, iscsi};
use crate::facts::{self, Statement, Statements};
use crate::scenario::{Fabric, Group, State, Unit};
use crate::sysfs::{read, write};
use crate::{command, sysfs};

/// LIO's configfs.
pub(super) const BASE: &str = "/sys/kernel/config/target";
/// Where the backstores' files are.
const FILES: &str = "/run/alua-lab";

/// A unit that stands.
#[derive(Clone, Debug)]
struct Stand {
    name: String,
    unit: Unit,
}

/// A target that stands.
#[derive(Debug)]
pub struct Lio {
    /// Every path of every unit.
    pub places: Vec<Place>,
    units: Vec<Stand>,
    ports: u16,
    fabric: Fabric,
}

fn core(unit: &str) -> PathBuf {
    Path::new(BASE).join("core/fileio_0").join(unit)
}

/// The file of a unit.
fn file(unit: &str) -> PathBuf {
    Path::new(FILES).join(unit)
}

fn group_folder(unit: &str, group: u16) -> PathBuf {
    core(unit).join("alua").join(format!("group{group}"))
}

fn fabric_folder(fabric: Fabric, port: u16) -> PathBuf {
    match fabric {
        Fabric::Loop => {
            Path::new(BASE).join(format!("loopback/naa.50014050000000{port:02x}/tpgt_1"))
        }
        Fabric::Iscsi => iscsi::fabric(port),
    }
}

pub(super) fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

impl Lio {
    /// Sets the units, groups and ports up, and waits for the disks.
    ///
    /// # Errors
    ///
    /// The kernel refuses something.
    pub fn set_up(fabric: Fabric, ports: u16, specs: &[Unit]) -> Result<Self> {
        make(Path::new(FILES))?;
        if fabric == Fabric::Iscsi {
            iscsi::prepare()?;
        }
        let mut units: Vec<Stand> = Vec::new();
        for spec in specs {
            for _ in 0..spec.copies {
                let stand = Stand { name: format!("disk{}", units.len()), unit: spec.clone() };
                set_up_unit(&stand, units.len())?;
                units.push(stand);
            }
        }
        let mut places = Vec::new();
        for port in 1..=ports {
            set_up_port(fabric, port)?;
            for (lun, stand) in units.iter().enumerate() {
                link(fabric, port, lun, stand)?;
            }
            let address = match fabric {
                Fabric::Loop => read(&fabric_folder(fabric, port).join("address"))?,
                Fabric::Iscsi => iscsi::log_in(port)?,
            };
            for (lun, stand) in units.iter().enumerate() {
                let hctl = format!("{address}:{lun}");
                places.push(Place { unit: stand.name.clone(), port, hctl });
            }
        }
        for place in &places {
            // The kernel read page 83h when the path was made, before the port was in its group.
            sysfs::wait_for_device(&place.hctl)?;
            sysfs::rescan(&place.hctl)?;
        }
        Ok(Self { places, units, ports, fabric })
    }

    /// The names of the units.
    pub fn unit_names(&self) -> impl Iterator<Item = &str> {
        self.units.iter().map(|stand| stand.name.as_str())
    }

    /// The file that holds the first unit.
    #[must_use]
    pub fn disk(&self) -> Option<PathBuf> {
        self.units.first().map(|stand| file(&stand.name))
    }

    /// What LIO says of a group's state.
    ///
    /// # Errors
    ///
    /// It cannot be read, or it is no state.
    pub fn state(unit: &str, group: u16) -> Result<State> {
        let file = group_folder(unit, group).join("alua_access_state");
        let code: u8 = read(&file)?.parse().with_context(|| file.display().to_string())?;
        State::from_code(code).with_context(|| format!("{} says {code}", file.display()))
    }

    /// Changes a group's state in one unit; comes back when the transition is over.
    ///
    /// # Errors
    ///
    /// LIO refuses.
    pub fn set_state(unit: &str, group: u16, state: State) -> Result<()> {
        let file = group_folder(unit, group).join("alua_access_state");
        write(&file, &(state as u8).to_string())
    }

    /// Lets a group be LBA-dependent, which LIO does by itself only where there is a map of blocks.
    ///
    /// # Errors
    ///
    /// LIO refuses.
    pub fn allow_lba_dependent(unit: &str, group: u16) -> Result<()> {
        write(&group_folder(unit, group).join("alua_support_lba_dependent"), "1")
    }

    /// Changes PREF of a group in one unit.
    ///
    /// # Errors
    ///
    /// LIO refuses.
    pub fn set_preferred(unit: &str, group: u16, preferred: bool) -> Result<()> {
        write(&group_folder(unit, group).join("preferred"), if preferred { "1" } else { "0" })
    }

    /// Takes a port offline for every unit, or brings it back.
    ///
    /// # Errors
    ///
    /// LIO refuses.
    pub fn set_offline(&self, port: u16, offline: bool) -> Result<()> {
        for lun in 0..self.units.len() {
            let folder = fabric_folder(self.fabric, port).join(format!("lun/lun_{lun}"));
            write(&folder.join("alua_tg_pt_offline"), if offline { "1" } else { "0" })?;
        }
        Ok(())
    }

    /// Has a port answer nothing any more, and take nothing in, or work again.
    ///
    /// # Errors
    ///
    /// The target stands on a fabric that cannot hang, or the kernel refuses.
    pub fn set_hung(&self, port: u16, hung: bool) -> Result<()> {
        ensure!(self.fabric == Fabric::Iscsi, "only a path of the fabric `iscsi` can hang");
        iscsi::hang(port, hung)
    }

    /// Sets how long a group stays in transition when its state changes.
    ///
    /// # Errors
    ///
    /// LIO refuses.
    pub fn set_transition(unit: &str, group: u16, ms: u32) -> Result<()> {
        write(&group_folder(unit, group).join("trans_delay_msecs"), &ms.to_string())
    }

    /// What configfs states, read anew.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn statements(&self) -> Result<Vec<Statement>> {
        let mut said = Statements::by("configfs");
        for (lun, stand) in self.units.iter().enumerate() {
            for group in &stand.unit.groups {
                state_group(&mut said, &stand.name, group)?;
            }
            for port in 1..=self.ports {
                self.state_path(&mut said, stand, lun, port)?;
            }
        }
        Ok(said.into_vec())
    }

    fn state_path(
        &self,
        said: &mut Statements,
        stand: &Stand,
        lun: usize,
        port: u16,
    ) -> Result<()> {
        let folder = fabric_folder(self.fabric, port).join(format!("lun/lun_{lun}"));
        let text = read(&folder.join("alua_tg_pt_gp"))?;
        let id = text.lines().find_map(|line| line.strip_prefix("TG Port Group ID: "));
        let id: u16 = id.with_context(|| format!("no group in {text:?}"))?.parse()?;
        let path = facts::path(&stand.name, port);
        said.state(&path, "group", id);
        said.state(&path, "state", Self::state(&stand.name, id)?.name());
        said.state(&path, "relative port", port);
        Ok(())
    }

    /// Adds the port that LIO does not send to what `alua` said of it.
    ///
    /// In an extended report LIO (seen with 6.12) leaves the four bytes that the extended header
    /// has more out of the RETURN DATA LENGTH and out of the transfer: the last port of the last
    /// group is missing in it. Where `alua rtpg` states all ports of that group but the last, it
    /// stated all that came. `alua list` knows the port from its path, and a short report is whole:
    /// these are held against the peers as they are.
    pub fn complete(&self, said: &mut [Statement], peers: &[Statement]) {
        let lasts: Vec<String> = self.units.iter().filter_map(last_ports).collect();
        for statement in said {
            let extended =
                statement.source.starts_with("alua rtpg") && !statement.source.ends_with("--short");
            if !extended || !lasts.contains(&statement.fact) {
                continue;
            }
            let full = peers.iter().find(|peer| peer.fact == statement.fact);
            if let Some(full) = full
                && let Some((all_but_last, _)) = full.value.rsplit_once(' ').or(Some(("", "")))
                && statement.value == all_but_last
            {
                statement.value.clone_from(&full.value);
            }
        }
    }

    /// Takes everything down, whatever stands.
    ///
    /// # Errors
    ///
    /// Something stays.
    pub fn take_down() -> Result<()> {
        iscsi::take_down()?;
        let loopback = Path::new(BASE).join("loopback");
        for fabric in folders(&loopback, "naa.")? {
            let group = fabric.join("tpgt_1");
            for lun in folders(&group.join("lun"), "lun_")? {
                unless_gone(fs::remove_file(lun.join("port")), &lun)?;
                unless_gone(fs::remove_dir(&lun), &lun)?;
            }
            unless_gone(fs::remove_dir(&group), &group)?;
            unless_gone(fs::remove_dir(&fabric), &fabric)?;
        }
        let backstores = Path::new(BASE).join("core/fileio_0");
        for unit in folders(&backstores, "disk")? {
            for group in folders(&unit.join("alua"), "group")? {
                unless_gone(fs::remove_dir(&group), &group)?;
            }
            unless_gone(fs::remove_dir(&unit), &unit)?;
        }
        unless_gone(fs::remove_dir(&backstores), &backstores)?;
        unless_gone(fs::remove_dir_all(FILES), Path::new(FILES))
    }
}

/// The fact of the ports of the group that LIO reports last.
fn last_ports(stand: &Stand) -> Option<String> {
    let last = stand.unit.groups.last()?;
    Some(format!("{}: ports", facts::group(&stand.name, last.id)))
}

fn set_up_unit(stand: &Stand, number: usize) -> Result<()> {
    let folder = core(&stand.name);
    make(&folder)?;
    let Unit { mib, block_size, write_cache, .. } = stand.unit;
    let (file, bytes) = (file(&stand.name), mib << 20);
    // As long as the unit from the start, so that it can be compared with what a client reads.
    let made = fs::File::create(&file).and_then(|file| file.set_len(bytes));
    made.with_context(|| file.display().to_string())?;
    let cache = if write_cache { ",fd_buffered_io=1" } else { "" };
    let control = format!("fd_dev_name={},fd_dev_size={bytes}{cache}", file.display());
    write(&folder.join("control"), &control)?;
    if stand.unit.serial {
        // The serial makes the NAA name, by its hexadecimal digits: they must differ.
        let serial = format!("{:08x}-lab", 0x00a1_0a00 + number);
        write(&folder.join("wwn/vpd_unit_serial"), &serial)?;
    }
    write(&folder.join("enable"), "1")?;
    write(&folder.join("attrib/block_size"), &block_size.to_string())?;
    // UNMAP, which makes holes in the file.
    write(&folder.join("attrib/emulate_tpu"), "1")?;
    for group in &stand.unit.groups {
        let folder = group_folder(&stand.name, group.id);
        make(&folder)?;
        write(&folder.join("tg_pt_gp_id"), &group.id.to_string())?;
        // LIO lets a person change the state only while the access type has implicit in it.
        write(&folder.join("alua_access_type"), "3")?;
        write(&folder.join("alua_access_state"), &(group.state as u8).to_string())?;
        write(&folder.join("alua_access_type"), &(group.access as u8).to_string())?;
        write(&folder.join("preferred"), if group.preferred { "1" } else { "0" })?;
        write(&folder.join("trans_delay_msecs"), &group.transition_ms.to_string())?;
        write(&folder.join("implicit_trans_secs"), &group.implicit_transition_s.to_string())?;
    }
    Ok(())
}

fn set_up_port(fabric: Fabric, port: u16) -> Result<()> {
    if fabric == Fabric::Iscsi {
        return iscsi::set_up_port(port);
    }
    let folder = fabric_folder(fabric, port);
    make(&folder)?;
    write(&folder.join("nexus"), &format!("naa.50014060000000{port:02x}"))?;
    // The loop fabric gives no relative target port identifier by itself.
    let file = folder.join("rtpi");
    match fs::write(&file, port.to_string()) {
        // Linux 6.1 lets nobody give one.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        written => written.with_context(|| file.display().to_string()),
    }
}

/// Makes the path of a unit over a port.
fn link(fabric: Fabric, port: u16, lun: usize, stand: &Stand) -> Result<()> {
    let folder = fabric_folder(fabric, port).join(format!("lun/lun_{lun}"));
    make(&folder)?;
    let to = folder.join("port");
    symlink(core(&stand.name), &to).with_context(|| to.display().to_string())?;
    let group = stand.unit.groups.iter().find(|group| group.ports.contains(&port));
    let id = group.with_context(|| format!("port {port} is in no group"))?.id;
    write(&folder.join("alua_tg_pt_gp"), &format!("group{id}"))
}

/// The bits of a group's supported states in configfs, by the names of sysfs.
const SUPPORT: [(&str, State); 7] = [
    ("alua_support_active_optimized", State::ActiveOptimized),
    ("alua_support_active_nonoptimized", State::ActiveNonOptimized),
    ("alua_support_standby", State::Standby),
    ("alua_support_unavailable", State::Unavailable),
    ("alua_support_lba_dependent", State::LbaDependent),
    ("alua_support_offline", State::Offline),
    ("alua_support_transitioning", State::Transitioning),
];

fn state_group(said: &mut Statements, unit: &str, group: &Group) -> Result<()> {
    let folder = group_folder(unit, group.id);
    let name = facts::group(unit, group.id);
    said.state(&name, "state", Lio::state(unit, group.id)?.name());
    said.state(&name, "preferred", read(&folder.join("preferred"))? == "1");
    let mut supported = Vec::new();
    for (file, state) in SUPPORT {
        if read(&folder.join(file))? == "1" {
            supported.push(state.name());
        }
    }
    supported.sort_unstable();
    said.state(&name, "supported states", supported.join(" "));
    let status = match read(&folder.join("alua_access_status"))?.as_str() {
        "Altered by Explicit STPG" => "set target port groups".to_owned(),
        "Altered by Implicit ALUA" => "implicit".to_owned(),
        "None" => "none".to_owned(),
        other => other.to_owned(),
    };
    said.state(&name, "status", status);
    let ports: Vec<String> = group.ports.iter().map(u16::to_string).collect();
    said.state(&name, "ports", ports.join(" "));
    Ok(())
}

/// The folders in a folder whose names begin so; none when it is not there.
pub(super) fn folders(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) && entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn unless_gone(result: std::io::Result<()>, what: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("cannot take down {}", what.display())),
    }
}

/// Loads what LIO needs and mounts configfs.
///
/// # Errors
///
/// A module cannot be loaded.
pub fn load() -> Result<()> {
    let modules = ["configfs", "target_core_mod", "tcm_loop", "target_core_file"];
    let disks = ["scsi_dh_alua", "sd_mod", "sg"];
    let arguments: Vec<&str> = ["-a"].into_iter().chain(modules).chain(disks).collect();
    let output = command::run("modprobe", &arguments, command::LIMIT)?;
    ensure!(output.status == 0, "modprobe: {}", output.said());
    if !Path::new(BASE).exists() {
        let mount = ["-t", "configfs", "configfs", "/sys/kernel/config"];
        let output = command::run("mount", &mount, command::LIMIT)?;
        ensure!(output.status == 0, "mount configfs: {}", output.said());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::AccessType;

    fn ports(source: &str, group: u16, value: &str) -> Statement {
        let mut said = Statements::by(source);
        said.state(&facts::group("disk0", group), "ports", value);
        said.into_vec().remove(0)
    }

    #[test]
    fn only_the_one_port_that_lio_does_not_send_is_added() {
        let group = |id, ports| Group {
            id,
            access: AccessType::Both,
            state: State::Standby,
            preferred: false,
            transition_ms: 0,
            implicit_transition_s: 0,
            ports,
        };
        let groups = vec![group(1, vec![1, 2]), group(2, vec![3, 4])];
        let unit = Unit::of(groups);
        let units = vec![Stand { name: "disk0".to_owned(), unit }];
        let lio = Lio { places: Vec::new(), units, ports: 4, fabric: Fabric::Loop };
        let peers = [ports("configfs", 1, "1 2"), ports("configfs", 2, "3 4")];
        let completed = |source: &str, group, value: &str| {
            let mut said = [ports(source, group, value)];
            lio.complete(&mut said, &peers);
            said[0].value.clone()
        };
        assert_eq!(completed("alua rtpg sda", 2, "3"), "3 4");
        assert_eq!(completed("alua rtpg sda", 2, ""), "");
        assert_eq!(completed("alua rtpg sda", 2, "4"), "4");
        assert_eq!(completed("alua rtpg sda", 1, "1"), "1");
        assert_eq!(completed("alua rtpg sda --short", 2, "3"), "3");
        assert_eq!(completed("alua list", 2, "3"), "3");
    }
}
