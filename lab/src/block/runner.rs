//! Runs one scenario of a block device.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::process::Process;
use super::{Scenario, Step};
use crate::command::{self, Output};
use crate::report::Outcome;
use crate::sysfs;
use crate::target::Target;
use crate::target::lio::Lio;

/// How long a command, or the server, may take for anything. A guest without KVM is slow.
const LIMIT: Duration = Duration::from_secs(100);

/// From one look at something that is awaited to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// A scenario at work.
struct Run<'a> {
    scenario: &'a Scenario,
    folder: PathBuf,
    target: Option<Target>,
    /// None when it was killed or stopped.
    server: Option<Process>,
    place: String,
    begun: BTreeMap<String, Process>,
    /// How many commands did what they should.
    held: usize,
    /// Where pictures go.
    timelines: Option<&'a Path>,
    /// Servers that draw one.
    drawn: usize,
}

/// Runs a scenario. What is wrong is in the outcome; its `agreed` counts the checks that held. Each
/// `alua up` leaves a picture of its run in the folder `timelines`, named by the scenario.
#[must_use]
pub fn run(scenario: &Scenario, timelines: Option<&Path>) -> Outcome {
    let start = Instant::now();
    let mut failures = Vec::new();
    let mut held = 0;
    let folder = std::env::temp_dir().join(format!("block-{}", scenario.name));
    match Run::begin(scenario, &folder, timelines) {
        Err(error) => failures.push(format!("set-up: {error:#}")),
        Ok(mut run) => {
            for (index, step) in scenario.steps.iter().enumerate() {
                println!("lab: {} step {}", scenario.name, index + 1);
                if let Err(error) = run.step(step) {
                    failures.push(format!("step {}: {error:#}", index + 1));
                    let log = run.server.as_ref().map(Process::log).unwrap_or_default();
                    if !log.is_empty() {
                        failures.push(format!("the server's log ended with:\n{log}"));
                    }
                    // What comes after builds on it.
                    break;
                }
            }
            held = run.held;
            failures.extend(run.end().err().map(|error| format!("removal: {error:#}")));
        }
    }
    let mut left_behind = None;
    if scenario.target.is_some()
        && let Err(error) = Target::take_down()
    {
        left_behind = Some(format!("{error:#}"));
    }
    if !failures.is_empty() && left_behind.is_none() {
        // A device may be there still, with somebody waiting in the kernel.
        left_behind = Some("a block device whose scenario failed".to_owned());
    }
    // Kept when it cannot be removed; the guest ends soon.
    let _ = fs::remove_dir_all(&folder);
    Outcome {
        scenario: scenario.name.clone(),
        passed: failures.is_empty(),
        millis: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        agreed: held,
        list_millis: 0,
        list_commands: 0,
        failures,
        left_behind,
    }
}

impl<'a> Run<'a> {
    fn begin(scenario: &'a Scenario, folder: &Path, timelines: Option<&'a Path>) -> Result<Self> {
        fs::create_dir_all(folder.join("mount")).with_context(|| folder.display().to_string())?;
        for module in &scenario.modules {
            let output = command::run("modprobe", &[module], command::LIMIT)?;
            ensure!(output.status == 0, "modprobe {module}: {}", output.said());
        }
        let target = scenario.target.as_ref().map(Target::set_up).transpose()?;
        if target.is_none() {
            fs::File::create(folder.join("disk"))?.set_len(scenario.disk_mib << 20)?;
        }
        let mut run = Self {
            scenario,
            folder: folder.to_owned(),
            target,
            server: None,
            place: String::new(),
            begun: BTreeMap::new(),
            held: 0,
            timelines,
            drawn: 0,
        };
        run.serve(&scenario.server)?;
        Ok(run)
    }

    fn serve(&mut self, command: &[String]) -> Result<()> {
        ensure!(self.server.is_none(), "the server still runs");
        let mut command = self.filled(command)?;
        if let Some(folder) = self.timelines
            && is_up(&command)
        {
            self.drawn += 1;
            let file = folder.join(picture(&self.scenario.name, self.drawn));
            command.extend(["--timeline".to_owned(), file.display().to_string()]);
        }
        let mut server = Process::start(&command)?;
        self.place = server.wait_for("ready: ", LIMIT)?;
        self.server = Some(server);
        Ok(())
    }

    /// A command with its placeholders filled in.
    fn filled(&self, command: &[String]) -> Result<Vec<String>> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let disk = match &self.target {
            Some(Target::Lio(lio)) => lio.disk().map(|file| file.display().to_string()),
            _ => None,
        };
        let fixed = [
            ("{disk}", disk.unwrap_or_else(|| path("disk"))),
            ("{socket}", path("socket")),
            ("{folder}", path("mount")),
            ("{device}", self.scenario.device.clone().unwrap_or_else(|| self.place.clone())),
            ("{place}", self.place.clone()),
        ];
        let mut filled = Vec::new();
        for word in command {
            let mut word = word.clone();
            for (name, value) in &fixed {
                word = word.replace(name, value);
            }
            while let Some(start) = word.find("{path:") {
                let end = word[start..].find('}').context("a placeholder without an end")? + start;
                let port = word[start + "{path:".len()..end].parse()?;
                word.replace_range(start..=end, &self.path(port)?);
            }
            filled.push(word);
        }
        Ok(filled)
    }

    /// The device of the first unit's path over a port.
    fn path(&self, port: u16) -> Result<String> {
        let target = self.target.as_ref().context("there is no target")?;
        let place = target.places().iter().find(|place| place.port == port);
        let place = place.with_context(|| format!("there is no port {port}"))?;
        Ok(format!("/dev/{}", sysfs::need_disk(&place.hctl)?))
    }

    fn lio(&self) -> Result<&Lio> {
        match &self.target {
            Some(Target::Lio(lio)) => Ok(lio),
            _ => bail!("this step needs LIO"),
        }
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Part { name } => bail!("the part {name} was not read"),
            Step::Run { command, exit, says } => {
                let output = Process::start(&self.filled(command)?)?.finish(LIMIT)?;
                self.held += check(&command.join(" "), &output, *exit, says)?;
            }
            Step::Await { command, exit, says } => {
                let command = self.filled(command)?;
                let end = Instant::now() + LIMIT;
                loop {
                    let output = Process::start(&command)?.finish(LIMIT)?;
                    match check(&command.join(" "), &output, *exit, says) {
                        Ok(held) => break self.held += held,
                        Err(error) if Instant::now() > end => return Err(error),
                        Err(_) => std::thread::sleep(PAUSE),
                    }
                }
            }
            Step::Begin { name, command } => {
                let process = Process::start(&self.filled(command)?)?;
                self.begun.insert(name.clone(), process);
            }
            Step::Finish { name, exit, says, still_running, interrupt } => {
                let process = self.begun.remove(name);
                let mut process = process.with_context(|| format!("{name} was not begun"))?;
                if *still_running || *interrupt {
                    if !process.is_running()? {
                        let said = process.finish(LIMIT)?;
                        bail!("{name} had ended already with {}: {}", said.status, said.said());
                    }
                    self.held += 1;
                }
                if *interrupt {
                    process.signal(Signal::INT)?;
                }
                self.held += check(name, &process.finish(LIMIT)?, *exit, says)?;
            }
            Step::Wait { ms } => std::thread::sleep(Duration::from_millis(*ms)),
            Step::Kill {} => {
                let mut server = self.server.take().context("there is no server to kill")?;
                server.signal(Signal::KILL)?;
                server.finish(LIMIT)?;
            }
            Step::Recover {} => self.serve(&self.scenario.successor)?,
            Step::SetState { group, state } => {
                for unit in self.lio()?.unit_names() {
                    Lio::set_state(unit, *group, *state)?;
                }
            }
            Step::SetOffline { port, offline } => self.lio()?.set_offline(*port, *offline)?,
            Step::SetHung { port, hung } => self.lio()?.set_hung(*port, *hung)?,
            Step::Stop { exactly, at_least } => self.stop(exactly, at_least)?,
        }
        Ok(())
    }

    fn stop(
        &mut self,
        exactly: &BTreeMap<String, u64>,
        at_least: &BTreeMap<String, u64>,
    ) -> Result<()> {
        let mut server = self.server.take().context("there is no server to stop")?;
        server.signal(Signal::TERM)?;
        let output = server.finish(LIMIT)?;
        ensure!(output.status == 0, "the server ended with {}: {}", output.status, output.said());
        let last = output.stdout.lines().last().unwrap_or_default();
        for (name, want) in exactly {
            let is = number(last, name)?;
            ensure!(is == *want, "{name} is {is}, not {want}: {last}");
        }
        for (name, want) in at_least {
            let is = number(last, name)?;
            ensure!(is >= *want, "{name} is {is}, less than {want}: {last}");
        }
        self.held += exactly.len() + at_least.len();
        Ok(())
    }

    /// Ends what still runs; a scenario ends its server itself.
    fn end(self) -> Result<()> {
        let (mut server, mut left) = (self.server, Vec::new());
        for (name, mut process) in self.begun {
            if process.is_running()? {
                left.push(name);
            }
        }
        if let Some(server) = &mut server
            && server.is_running()?
        {
            left.push("the server".to_owned());
        }
        ensure!(left.is_empty(), "{} still runs", left.join(", "));
        Ok(())
    }
}

/// Whether a command is an `alua up`.
fn is_up(command: &[String]) -> bool {
    let mut words = command.iter().skip_while(|word| *word != "alua");
    words.next().is_some() && words.any(|word| word == "up")
}

/// The name of the picture of a scenario's server; the first is the scenario's.
fn picture(scenario: &str, number: usize) -> String {
    if number == 1 { format!("{scenario}.svg") } else { format!("{scenario}-{number}.svg") }
}

/// Holds what a command came to against what it should; 1, as a check that held.
fn check(what: &str, output: &Output, exit: i32, says: &[String]) -> Result<usize> {
    let status = output.status;
    ensure!(status == exit, "`{what}` ended with {status}, not {exit}: {}", output.said());
    for text in says {
        let said = output.stdout.contains(text) || output.stderr.contains(text);
        ensure!(said, "`{what}` does not say {text:?}: {}", output.said());
    }
    Ok(1)
}

/// A member of a JSON object.
fn number(object: &str, name: &str) -> Result<u64> {
    let value: Value = serde_json::from_str(object)
        .with_context(|| format!("the server's last line is no JSON: {object:?}"))?;
    value[name].as_u64().with_context(|| format!("the server does not tell `{name}`: {object}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alua_up_and_no_other_server_leaves_a_picture() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_up(&words("unshare --mount alua --json up /dev/sda --ublk")));
        assert!(!is_up(&words("alua-lab-export nbd up")) && !is_up(&words("alua status")));
        assert_eq!(["a.svg", "a-2.svg"], [1, 2].map(|number| picture("a", number)));
    }

    /// Runs a scenario that needs no kernel.
    fn outcome(name: &str, server: &str, steps: &str) -> Outcome {
        let text = format!(
            "summary = 's'\ndisk_mib = 1\nserver = ['sh', '-c', '''{server}''']\n\
             successor = ['sh', '-c', '''{server}''']\n{steps}"
        );
        let mut scenario: Scenario = toml::from_str(&text).unwrap();
        scenario.name = format!("test-{}-{name}", std::process::id());
        run(&scenario, None)
    }

    const SERVER: &str = "end() { echo '{\"requests\": 7}'; exit 0; }; trap end TERM; \
                          echo ready: /dev/x; while :; do sleep 0.02; done";

    #[test]
    fn a_scenario_is_carried_out() {
        let outcome = outcome(
            "whole",
            SERVER,
            "[[step]]\ndo = 'run'\ncommand = ['echo', '{place}', '{disk}']\n\
             says = ['/dev/x', 'disk']\n\
             [[step]]\ndo = 'begin'\nname = 'w'\ncommand = ['sh', '-c', 'sleep 1; exit 3']\n\
             [[step]]\ndo = 'await'\nsays = ['twice']\n\
             command = ['sh', '-c', 'test -e {folder}/one && echo twice; : > {folder}/one']\n\
             [[step]]\ndo = 'kill'\n\
             [[step]]\ndo = 'recover'\n\
             [[step]]\ndo = 'finish'\nname = 'w'\nexit = 3\nstill_running = true\n\
             [[step]]\ndo = 'stop'\nexactly = { requests = 7 }\nat_least = { requests = 1 }\n",
        );
        assert_eq!(outcome.failures, Vec::<String>::new());
        assert_eq!((outcome.passed, outcome.agreed), (true, 6));
    }

    #[test]
    fn what_runs_until_it_is_told_is_told_and_must_run_still() {
        let steps = |script: &str| {
            format!(
                "[[step]]\ndo = 'begin'\nname = 'w'\ncommand = ['sh', '-c', '''{script}''']\n\
                 [[step]]\ndo = 'wait'\nms = 300\n\
                 [[step]]\ndo = 'finish'\nname = 'w'\ninterrupt = true\nexit = 4\n\
                 [[step]]\ndo = 'stop'\n"
            )
        };
        let told = "trap 'exit 4' INT; while :; do sleep 0.02; done";
        assert_eq!(outcome("interrupt", SERVER, &steps(told)).failures, Vec::<String>::new());
        let early = outcome("early", SERVER, &steps("exit 4")).failures.join("; ");
        assert!(early.contains("w had ended already with 4"), "{early}");
    }

    #[test]
    fn what_does_not_hold_is_told() {
        let failed = |name: &str, steps: &str| outcome(name, SERVER, steps).failures.join("; ");
        let run = |rest: &str| format!("[[step]]\ndo = 'run'\ncommand = ['echo', 'a']\n{rest}\n");
        assert_eq!(
            failed("exit", &run("exit = 1")),
            "step 1: `echo a` ended with 0, not 1: a; removal: the server still runs"
        );
        assert!(failed("says", &run("says = ['b']")).contains("does not say \"b\""));
        let stop = |rest: &str| format!("{}[[step]]\ndo = 'stop'\n{rest}\n", run(""));
        let wrong = failed("exactly", &stop("exactly = { requests = 8 }"));
        assert!(wrong.contains("requests is 7, not 8"), "{wrong}");
        let less = failed("least", &stop("at_least = { requests = 8 }"));
        assert!(less.contains("requests is 7, less than 8"), "{less}");
        let unknown = failed("unknown", &stop("exactly = { other = 8 }"));
        assert!(unknown.contains("does not tell `other`"), "{unknown}");
    }

    #[test]
    fn a_server_that_does_not_start_fails_its_scenario() {
        let outcome = outcome("no", "echo no >&2; exit 1", "[[step]]\ndo = 'stop'\n");
        assert!(!outcome.passed && outcome.failures[0].contains("ended with"), "{outcome:?}");
    }
}
