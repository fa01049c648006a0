//! Scenarios of block devices: a server under test, what is done with its device, what happens
//! meanwhile, what has to hold.
//!
//! A file in TOML, in `lab/block/`. The fields are documented here; a file with an unknown one is
//! refused. In commands `{disk}` is the file that is served, or that holds the first unit of the
//! target where there is one; `{socket}` the path of a socket; `{folder}` an empty folder (to mount
//! on); `{place}` what the server said after `ready: `; `{device}` the block device, where that is
//! another place; and `{path:P}` the device over port P of the first unit of the target.
//!
//! Steps that several scenarios share stand in a file `NAME.part` beside them, which holds steps and
//! nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::scenario::{self, State, Target};

pub mod process;
pub mod runner;

/// One scenario, as its file describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// What it shows, in one line.
    pub summary: String,
    /// A SCSI target whose paths the server uses. Without one it serves `{disk}`.
    pub target: Option<Target>,
    /// The size of `{disk}` in MiB where there is no target.
    #[serde(default = "size")]
    pub disk_mib: u64,
    /// `{device}`, where it is not `{place}`: what a client makes of an export.
    pub device: Option<String>,
    /// Kernel modules that are needed.
    #[serde(default)]
    pub modules: Vec<String>,
    /// The command that serves the device under test: it says `ready: PLACE` when it does.
    pub server: Vec<String>,
    /// The command that takes the device over after a server has died.
    #[serde(default)]
    pub successor: Vec<String>,
    /// What is done, in this order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// What a file `NAME.part` holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    #[serde(rename = "step")]
    steps: Vec<Step>,
}

/// Something that is done. The server is started before the first step.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Does the steps of the file `NAME.part`. [`Scenario::read`] puts them in its place.
    Part {
        /// The file's name without `.part`.
        name: String,
    },
    /// Runs a command to its end.
    Run {
        /// The command.
        command: Vec<String>,
        /// The exit status that is right.
        #[serde(default)]
        exit: i32,
        /// What its output has to contain.
        #[serde(default)]
        says: Vec<String>,
    },
    /// Runs a command again and again until it ends and says so, and not for ever: what takes its time
    /// takes more of it on a busy machine.
    Await {
        /// The command.
        command: Vec<String>,
        /// The exit status that is right.
        #[serde(default)]
        exit: i32,
        /// What its output has to contain.
        #[serde(default)]
        says: Vec<String>,
    },
    /// Starts a command that runs on while the next steps are done.
    Begin {
        /// What it is called.
        name: String,
        /// The command.
        command: Vec<String>,
    },
    /// Waits for the end of a command that was begun.
    Finish {
        /// Which one.
        name: String,
        /// The exit status that is right.
        #[serde(default)]
        exit: i32,
        /// What its output has to contain.
        #[serde(default)]
        says: Vec<String>,
        /// It must not have ended before this step.
        #[serde(default)]
        still_running: bool,
        /// It runs until it is told to end, by SIGINT, which is now. So its length does not depend
        /// on how fast the steps before went. It must not have ended before.
        #[serde(default)]
        interrupt: bool,
    },
    /// Lets time pass.
    Wait {
        /// How much.
        ms: u64,
    },
    /// Kills the server with SIGKILL.
    Kill {},
    /// Starts the successor.
    Recover {},
    /// Changes a group's state in the target, in every unit.
    SetState {
        /// Which group.
        group: u16,
        /// To which state.
        state: State,
    },
    /// Takes a port of the target offline, or brings it back.
    SetOffline {
        /// Which port.
        port: u16,
        /// Whether it is to be offline.
        offline: bool,
    },
    /// Has a port answer nothing any more, or work again. Only on the fabric `iscsi`.
    SetHung {
        /// Which port.
        port: u16,
        /// Whether it is to hang.
        hung: bool,
    },
    /// Ends the server with SIGTERM. It has to end with 0, and the last line that it says has to be
    /// a JSON object with these numbers.
    Stop {
        /// Members that have to be just so.
        #[serde(default)]
        exactly: BTreeMap<String, u64>,
        /// Members that have to be so much or more.
        #[serde(default)]
        at_least: BTreeMap<String, u64>,
    },
}

const fn size() -> u64 {
    256
}

/// How deep a part may stand in other parts.
const DEPTH: usize = 3;

/// The steps with those of the parts that they name.
fn whole(folder: &Path, steps: Vec<Step>, depth: usize) -> Result<Vec<Step>> {
    let mut all = Vec::new();
    for step in steps {
        match step {
            Step::Part { name } => {
                ensure!(depth < DEPTH, "the part {name} stands too deep in other parts");
                let (part, _) = scenario::read::<Part>(&folder.join(format!("{name}.part")))?;
                all.extend(whole(folder, part.steps, depth + 1)?);
            }
            step => all.push(step),
        }
    }
    Ok(all)
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// It cannot be read, it is no scenario, or it contradicts itself; the message says where.
    pub fn read(file: &Path) -> Result<Self> {
        let (mut scenario, name) = scenario::read::<Self>(file)?;
        scenario.name = name;
        let folder = file.parent().unwrap_or(Path::new("."));
        scenario.steps = whole(folder, scenario.steps, 0)?;
        scenario.check().with_context(|| file.display().to_string())?;
        Ok(scenario)
    }

    /// Reads every scenario of a folder, in the order of their names.
    ///
    /// # Errors
    ///
    /// As [`Scenario::read`], and when there is none.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>> {
        scenario::files(folder)?.iter().map(|file| Self::read(file)).collect()
    }

    /// What is begun is finished, a successor is there where one is needed, and something is
    /// checked: a scenario cannot pass by doing nothing.
    fn check(&self) -> Result<()> {
        ensure!(!self.server.is_empty(), "there is no server");
        let mut begun: Vec<&str> = Vec::new();
        for step in &self.steps {
            match step {
                Step::Part { name } => bail!("the part {name} was not read"),
                Step::Begin { name, .. } => begun.push(name),
                Step::Finish { name, .. } => {
                    let index = begun.iter().position(|one| one == name);
                    begun.remove(index.with_context(|| format!("{name} was not begun"))?);
                }
                Step::Recover {} => ensure!(!self.successor.is_empty(), "there is no successor"),
                Step::SetState { .. } | Step::SetOffline { .. } | Step::SetHung { .. } => {
                    ensure!(self.target.is_some(), "there is no target to change");
                }
                Step::Run { command, .. } | Step::Await { command, .. } => {
                    ensure!(!command.is_empty(), "an empty command");
                }
                Step::Wait { .. } | Step::Kill {} | Step::Stop { .. } => {}
            }
        }
        ensure!(begun.is_empty(), "{} is not finished", begun.join(", "));
        let checks = |step: &Step| matches!(step, Step::Run { .. } | Step::Finish { .. });
        ensure!(self.steps.iter().any(checks), "nothing is checked");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_that_is_shipped_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("block");
        let all = Scenario::read_all(&folder).unwrap();
        // A checker that finds nothing is found out by those that must fail.
        let fails = |step: &Step| match step {
            Step::Run { exit, .. } | Step::Finish { exit, .. } => *exit != 0,
            _ => false,
        };
        assert!(all.iter().any(|scenario| scenario.steps.iter().any(fails)));
        assert!(all.len() >= 5, "only {} scenarios", all.len());
    }

    #[test]
    fn a_part_stands_where_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (file, part) = (folder.path().join("s.toml"), folder.path().join("p.part"));
        let wait = |ms: u64| format!("[[step]]\ndo = 'wait'\nms = {ms}\n");
        let run = "[[step]]\ndo = 'run'\ncommand = ['x']\n";
        let named = "[[step]]\ndo = 'part'\nname = 'p'\n";
        let text = format!("summary = 's'\nserver = ['x']\n{}{named}{run}", wait(1));
        std::fs::write(&file, text).unwrap();
        let error = Scenario::read(&file).unwrap_err();
        assert!(format!("{error:#}").contains("p.part"), "{error:#}");
        std::fs::write(&part, wait(2) + &wait(3)).unwrap();
        let steps = Scenario::read(&file).unwrap().steps;
        let ms: Vec<u64> = steps
            .iter()
            .filter_map(|step| if let Step::Wait { ms } = step { Some(*ms) } else { None })
            .collect();
        assert_eq!((ms.as_slice(), steps.len()), (&[1, 2, 3][..], 4));
        std::fs::write(&part, format!("summary = 's'\n{}", wait(2))).unwrap();
        assert!(Scenario::read(&file).is_err(), "a part is steps alone");
        std::fs::write(&part, named).unwrap();
        let error = Scenario::read(&file).unwrap_err().to_string();
        assert_eq!(error, "the part p stands too deep in other parts");
    }

    #[test]
    fn a_scenario_that_contradicts_itself_is_refused() {
        let wrong = |steps: &str| {
            let text = format!("summary = 's'\nserver = ['x']\n{steps}");
            toml::from_str::<Scenario>(&text).unwrap().check().unwrap_err().to_string()
        };
        let step = |what: &str| format!("[[step]]\n{what}\n");
        let begin = step("do = 'begin'\nname = 'w'\ncommand = ['x']");
        assert_eq!(wrong(&begin), "w is not finished");
        assert_eq!(wrong(&step("do = 'finish'\nname = 'w'")), "w was not begun");
        assert_eq!(wrong(&step("do = 'recover'")), "there is no successor");
        assert_eq!(wrong(&step("do = 'stop'")), "nothing is checked");
        assert_eq!(wrong(&step("do = 'part'\nname = 'p'")), "the part p was not read");
        let state = "do = 'set-state'\ngroup = 1\nstate = 'standby'";
        assert_eq!(wrong(&step(state)), "there is no target to change");
    }
}
