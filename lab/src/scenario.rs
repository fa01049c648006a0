//! Scenario files: which target stands there, and what is done to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One scenario, as its file describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// What it shows, in one line.
    pub summary: String,
    /// `alua list` has to give a reason why there is no ALUA. Nobody is then asked for groups and
    /// states, even where the target would answer.
    #[serde(default)]
    pub alua_off: bool,
    /// What stands there.
    pub target: Target,
    /// What is done, in this order. A check of all sources stands before and after everything.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
}

/// A target.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    /// The kernel's own target, LIO: one SCSI host for each port.
    Lio {
        /// How its ports are reached.
        #[serde(default)]
        fabric: Fabric,
        /// How many target ports; their relative target port identifiers count from 1.
        ports: u16,
        /// The logical units, each on every port.
        #[serde(rename = "unit")]
        units: Vec<Unit>,
    },
    /// The kernel's `scsi_debug` module: one path, two fixed groups, TPGS implicit, no transitions.
    ScsiDebug {},
}

/// How LIO's ports are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Fabric {
    /// Inside the kernel, by `tcm_loop`.
    #[default]
    #[serde(rename = "loop")]
    Loop,
    /// By iSCSI over the loopback interface. Its paths can hang.
    #[serde(rename = "iscsi")]
    Iscsi,
}

/// A logical unit of LIO, or several alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// How many such units. They are called `disk0`, `disk1`, ... over all of the file.
    #[serde(default = "one")]
    pub copies: u16,
    /// Whether it has a serial number. Without one, LIO serves no page 83h at all.
    #[serde(default = "yes")]
    pub serial: bool,
    /// Its size in MiB.
    #[serde(default = "mib")]
    pub mib: u64,
    /// Its logical block in bytes: 512, 1024, 2048 or 4096.
    #[serde(default = "block_size")]
    pub block_size: u16,
    /// It says that it has a volatile write cache, so that flushes and FUA are sent to it.
    #[serde(default)]
    pub write_cache: bool,
    /// Its target port groups. Each port is in one of them.
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
}

impl Unit {
    /// One unit with these groups, and all else as in a file that says nothing else.
    #[must_use]
    pub fn of(groups: Vec<Group>) -> Self {
        Self {
            copies: one(),
            serial: yes(),
            mib: mib(),
            block_size: block_size(),
            write_cache: false,
            groups,
        }
    }
}

/// A target port group of LIO.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its identifier.
    pub id: u16,
    /// Who may change its state.
    pub access: AccessType,
    /// The state at the start.
    #[serde(default)]
    pub state: State,
    /// PREF.
    #[serde(default)]
    pub preferred: bool,
    /// How long LIO stays in transition when the state changes, in milliseconds.
    #[serde(default)]
    pub transition_ms: u32,
    /// The implicit transition time that the extended header of RTPG announces, in seconds.
    #[serde(default)]
    pub implicit_transition_s: u8,
    /// The ports in it, counted from 1.
    pub ports: Vec<u16>,
}

/// LIO's `alua_access_type`, the value of TPGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum AccessType {
    /// TPGS 0.
    #[serde(rename = "none")]
    None = 0,
    /// TPGS 1.
    #[serde(rename = "implicit")]
    Implicit = 1,
    /// TPGS 2.
    #[serde(rename = "explicit")]
    Explicit = 2,
    /// TPGS 3.
    #[serde(rename = "implicit and explicit")]
    Both = 3,
}

impl AccessType {
    /// The words that `alua list` uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Implicit => "implicit",
            Self::Explicit => "explicit",
            Self::Both => "implicit and explicit",
        }
    }
}

/// An asymmetric access state, by the name that sysfs gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum State {
    /// 0h.
    #[default]
    #[serde(rename = "active/optimized")]
    ActiveOptimized = 0,
    /// 1h.
    #[serde(rename = "active/non-optimized")]
    ActiveNonOptimized = 1,
    /// 2h.
    #[serde(rename = "standby")]
    Standby = 2,
    /// 3h.
    #[serde(rename = "unavailable")]
    Unavailable = 3,
    /// 4h.
    #[serde(rename = "lba-dependent")]
    LbaDependent = 4,
    /// Eh.
    #[serde(rename = "offline")]
    Offline = 14,
    /// Fh.
    #[serde(rename = "transitioning")]
    Transitioning = 15,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::ActiveOptimized,
        Self::ActiveNonOptimized,
        Self::Standby,
        Self::Unavailable,
        Self::LbaDependent,
        Self::Offline,
        Self::Transitioning,
    ];

    /// The name in sysfs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ActiveOptimized => "active/optimized",
            Self::ActiveNonOptimized => "active/non-optimized",
            Self::Standby => "standby",
            Self::Unavailable => "unavailable",
            Self::LbaDependent => "lba-dependent",
            Self::Offline => "offline",
            Self::Transitioning => "transitioning",
        }
    }

    /// The state with this code in RTPG data and in LIO's configfs.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == code)
    }
}

/// One step. Where a step names no unit it means `disk0`; a port says through which path.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Compares all sources; the groups named in `states` must stand so in LIO itself.
    Check {
        /// Group identifier to state.
        #[serde(default)]
        states: BTreeMap<String, State>,
    },
    /// Changes `alua`'s answer before it is compared: the comparison must find just that.
    Tamper {
        /// What is changed in the answer of `alua list --json`.
        change: Vec<Change>,
        /// The facts that must come out as disagreements, and no other.
        caught: Vec<String>,
    },
    /// Changes a group's state in the target, as its administrator does, in every unit.
    SetState {
        /// Which group.
        group: u16,
        /// To which state.
        state: State,
    },
    /// Changes PREF of a group, in every unit.
    SetPreferred {
        /// Which group.
        group: u16,
        /// The new value.
        preferred: bool,
    },
    /// As `set-state` in one unit, with `alua list --watch` running and `alua list` called over and
    /// over meanwhile: the states of that group that each of them shows, each once, in order.
    Watch {
        /// Which group.
        group: u16,
        /// To which state.
        state: State,
        /// What has to be seen.
        seen: Vec<State>,
    },
    /// `alua stpg`.
    Stpg {
        /// Through which port.
        port: u16,
        /// Group identifier to state.
        groups: BTreeMap<String, State>,
        /// `--wait`.
        #[serde(default)]
        wait: bool,
        /// `--dry-run`.
        #[serde(default)]
        dry_run: bool,
        /// The exit status that is right.
        #[serde(default)]
        exit: i32,
    },
    /// `alua activate`, with the path's device or, without a port, the unit's name.
    Activate {
        /// Through which port.
        port: Option<u16>,
        /// Which group.
        group: u16,
        /// The exit status that is right.
        #[serde(default)]
        exit: i32,
    },
    /// `alua tur`, beside TEST UNIT READY from `sg_raw`.
    Tur {
        /// Through which port.
        port: u16,
        /// The exit status that is right.
        exit: i32,
    },
    /// Deletes a path and brings it back.
    Readd {
        /// Which port.
        port: u16,
    },
    /// Deletes and brings back a path again and again while `alua list` runs: no call of it may
    /// fail otherwise than by saying what it missed.
    Churn {
        /// Which port.
        port: u16,
        /// How often.
        times: u32,
    },
    /// Takes a port offline for all units (LIO's secondary state), or brings it back.
    SetOffline {
        /// Which port.
        port: u16,
        /// Whether it is to be offline.
        offline: bool,
    },
}

/// A change to a JSON answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Where, as a JSON pointer.
    pub at: String,
    /// The new value; without it the member or element is taken away.
    pub to: Option<toml::Value>,
}

const fn one() -> u16 {
    1
}

const fn yes() -> bool {
    true
}

const fn mib() -> u64 {
    16
}

const fn block_size() -> u16 {
    512
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// It cannot be read, it is no scenario, or it contradicts itself; the message says where.
    pub fn read(file: &Path) -> Result<Self> {
        let (mut scenario, name) = read::<Self>(file)?;
        scenario.name = name;
        scenario.target.check().with_context(|| file.display().to_string())?;
        Ok(scenario)
    }

    /// Reads every scenario of a folder, in the order of their names.
    ///
    /// # Errors
    ///
    /// As [`Scenario::read`], and when there is none.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>> {
        files(folder)?.iter().map(|file| Self::read(file)).collect()
    }
}

/// Reads a scenario of whatever kind, and gives its name.
pub(crate) fn read<T: DeserializeOwned>(file: &Path) -> Result<(T, String)> {
    let show = || file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(show)?;
    let scenario = toml::from_str(&text).with_context(show)?;
    let name = file.file_stem().with_context(show)?;
    Ok((scenario, name.to_string_lossy().into_owned()))
}

/// The scenario files of a folder, in the order of their names; that there is none is an error.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("{} holds no scenario", folder.display());
    }
    files.sort();
    Ok(files)
}

impl Target {
    /// Each port in exactly one group of each unit, and group identifiers only once.
    fn check(&self) -> Result<()> {
        let Self::Lio { ports, units, .. } = self else { return Ok(()) };
        ensure!(!units.is_empty(), "a target without a unit");
        for unit in units {
            for port in 1..=*ports {
                let groups = unit.groups.iter().filter(|group| group.ports.contains(&port)).count();
                ensure!(groups == 1, "port {port} is in {groups} groups");
            }
            for group in &unit.groups {
                ensure!(
                    group.ports.iter().all(|port| (1..=*ports).contains(port)),
                    "group {} has a port that the target has not",
                    group.id
                );
                let same = unit.groups.iter().filter(|other| other.id == group.id).count();
                ensure!(same == 1 && group.id != 0, "group {} is there twice, or is 0", group.id);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_that_is_shipped_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let all = Scenario::read_all(&folder).unwrap();
        assert!(all.len() >= 10, "only {} scenarios", all.len());
        // The deliberate disagreement must be among them.
        let tampers = |step: &Step| matches!(step, Step::Tamper { .. });
        assert!(all.iter().any(|scenario| scenario.steps.iter().any(tampers)));
    }

    #[test]
    fn a_port_in_two_groups_is_refused() {
        let group = |id| Group {
            id,
            access: AccessType::Both,
            state: State::Standby,
            preferred: false,
            transition_ms: 0,
            implicit_transition_s: 0,
            ports: vec![1],
        };
        let units = vec![Unit::of(vec![group(1), group(2)])];
        let error = Target::Lio { fabric: Fabric::Loop, ports: 1, units }.check().unwrap_err();
        assert_eq!(error.to_string(), "port 1 is in 2 groups");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let text = "summary = 's'\n[target]\nkind = 'scsi-debug'\nluns = 2\n";
        assert!(toml::from_str::<Scenario>(text).is_err());
    }
}
