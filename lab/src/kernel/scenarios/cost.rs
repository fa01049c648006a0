//! What the handler costs: memory, and instructions where the guest's clock counts them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::dm::Map;
use super::super::{Handler, Run, disk, until};
use super::access::{agree, settle, touch};
use super::transition::groups;
use super::two_controllers;
use crate::sysfs::{read, write};

const SOON: Duration = Duration::from_secs(10);
const TRACING: &str = "/sys/kernel/tracing";
/// What sends a command and waits for it: the midlayer's time, not the handler's. The stock handler calls
/// one function for it, ours the four that this one consists of.
const SEND: [&str; 6] = [
    "scsi_execute_cmd",
    "__scsi_execute",
    "scsi_alloc_request",
    "blk_rq_map_kern",
    "blk_execute_rq",
    "blk_mq_free_request",
];
const PREP: &str = "alua_prep_fn";

fn set(name: &str, value: &str) -> Result<()> {
    write(&Path::new(TRACING).join(name), value)
}

fn trace() -> Result<String> {
    let text = fs::read(Path::new(TRACING).join("trace"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Where the kernel enters the handler.
fn entries(handler: Handler) -> &'static [&'static str] {
    match handler {
        Handler::Stock => &["alua_check_sense", "alua_activate", "alua_rtpg_work"],
        Handler::Ours => {
            &["alua_check_sense", "alua_activate", "alua_command_work", "alua_unit_work"]
        }
    }
}

fn module(handler: Handler) -> &'static str {
    match handler {
        Handler::Stock => "scsi_dh_alua",
        Handler::Ours => "scsi_dh_alua_rs",
    }
}

/// Nanoseconds in each traced function, without what it slept and without the commands in it.
#[derive(Default)]
struct Spent {
    calls: HashMap<String, u32>,
    nanos: HashMap<String, u64>,
}

impl Spent {
    fn start(handler: Handler) -> Result<()> {
        set("current_tracer", "nop")?;
        let known = read(&Path::new(TRACING).join("available_filter_functions"))?;
        let known: Vec<&str> =
            known.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let wanted = entries(handler).iter().chain(&SEND).chain([&PREP]);
        let mut filter = String::new();
        for function in wanted.filter(|function| known.contains(function)) {
            filter.push_str(function);
            filter.push(' ');
        }
        set("set_ftrace_filter", &filter)?;
        for (option, value) in [
            ("funcgraph-proc", "1"),
            ("funcgraph-tail", "1"),
            ("funcgraph-overhead", "0"),
            ("funcgraph-irqs", "1"),
            ("sleep-time", "0"),
        ] {
            set(&format!("options/{option}"), value)?;
        }
        set("current_tracer", "function_graph")
    }

    fn stop() -> Result<Self> {
        set("tracing_on", "0")?;
        let text = trace()?;
        set("current_tracer", "nop")?;
        set("set_ftrace_filter", "")?;
        set("tracing_on", "1")?;
        Self::read(&text).context("the trace of functions cannot be understood")
    }

    /// Lines are `CPU) TASK | DURATION us | FUNCTION();` for a function that called none that is
    /// traced, else `FUNCTION() {`, and at its end `DURATION us | } /* FUNCTION */`.
    fn read(text: &str) -> Result<Self> {
        let mut spent = Self::default();
        // By task: what was sent within each function that is open.
        let mut open: HashMap<String, Vec<u64>> = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut parts = line.splitn(3, '|').map(str::trim);
            let (Some(task), Some(time), Some(call)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let task = task.split_once(')').map_or(task, |(_, task)| task.trim()).to_owned();
            let stack = open.entry(task).or_default();
            if call.ends_with('{') {
                stack.push(0);
                continue;
            }
            let Some(time) = time.strip_suffix("us") else { continue };
            let whole = (time.trim().parse::<f64>()? * 1_000.0).round() as u64;
            let mut own = whole;
            let name = match call.strip_prefix('}') {
                Some(rest) => {
                    // One that began before the trace did is of no use.
                    let Some(within) = stack.pop() else { continue };
                    own = whole.saturating_sub(within);
                    rest.trim_start_matches(" /*").trim()
                }
                None => call,
            };
            let name = name.split(['(', ' ']).next().unwrap_or(name).to_owned();
            if SEND.contains(&name.as_str()) {
                if let Some(within) = stack.last_mut() {
                    *within += whole;
                }
                continue;
            }
            *spent.calls.entry(name.clone()).or_default() += 1;
            *spent.nanos.entry(name).or_default() += own;
        }
        Ok(spent)
    }

    fn in_entries(&self, handler: Handler) -> f64 {
        let nanos = entries(handler).iter().filter_map(|name| self.nanos.get(*name));
        nanos.sum::<u64>() as f64
    }

    fn each_prep(&self) -> Result<f64> {
        let calls = self.calls.get(PREP).context("prep_fn was never called")?;
        let nanos = self.nanos.get(PREP).context("prep_fn was never called")?;
        Ok(*nanos as f64 / f64::from(*calls))
    }
}

/// Bytes that the module has got since the trace of allocations began and has not freed, by the
/// place in the code that asked for them, and how many pieces.
fn held(module: &str) -> Result<BTreeMap<String, (u32, u64)>> {
    let text = trace()?;
    let mut pieces: HashMap<String, (String, u64)> = HashMap::new();
    let of_module = format!("[{module}]");
    for line in text.lines() {
        let value = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            Some(rest.split_whitespace().next().unwrap_or(rest).to_owned())
        };
        let Some(pointer) = value(" ptr=") else { continue };
        if line.contains(" kfree:") {
            pieces.remove(&pointer);
        } else if line.contains(&of_module) {
            let bytes = value(" bytes_alloc=").context("no size")?.parse()?;
            let place = value(" call_site=").context("no caller")?;
            pieces.insert(pointer, (place, bytes));
        }
    }
    let mut by_place: BTreeMap<String, (u32, u64)> = BTreeMap::new();
    for (place, bytes) in pieces.into_values() {
        let entry = by_place.entry(place).or_default();
        *entry = (entry.0 + 1, entry.1 + bytes);
    }
    Ok(by_place)
}

const PATHS: u32 = 4;

pub(super) fn cost(run: &mut Run) -> Result<()> {
    set("buffer_size_kb", "65536")?;
    set("trace", "")?;
    for event in ["kmalloc", "kfree"] {
        set(&format!("events/kmem/{event}/enable"), "1")?;
    }
    let model = two_controllers("", "")?;
    settle(&model)?;
    for event in ["kmalloc", "kfree"] {
        set(&format!("events/kmem/{event}/enable"), "0")?;
    }
    let held = held(module(run.handler))?;
    let (mut path, mut unit) = (0, 0);
    for (pieces, bytes) in held.values() {
        let of = if *pieces == PATHS { &mut path } else { &mut unit };
        *of += bytes;
    }
    ensure!(path > 0 && unit > 0, "the handler's memory was not seen: {held:?}");
    run.figure("memory of a unit with two groups and four paths, bytes", (unit + path) as f64);
    let each = path as f64 / f64::from(PATHS);
    run.figure("of these, what each path has of its own, bytes", each);

    let map = Map::create("lab", &groups(&model), "1 alua")?;
    let reader = disk::Reader::start(&map.node())?;
    until(SOON, || reader.reads() > 50);
    let (mut switches, mut activations) = (0.0, 0.0);
    const ROUNDS: u32 = 4;
    set("trace", "")?;
    Spent::start(run.handler)?;
    let before = reader.reads();
    until(SOON, || reader.reads() > before + 500);
    let each_prep = Spent::stop()?.each_prep()?;
    for round in 0..ROUNDS {
        let to = if round % 2 == 0 { "B" } else { "A" };
        set("trace", "")?;
        Spent::start(run.handler)?;
        model.apply(&format!("do = \"switch\"\nto = \"{to}\""))?;
        touch(&model)?;
        let right = until(SOON, || agree(&model));
        // What comes later belongs to the event as well.
        std::thread::sleep(Duration::from_secs(3));
        switches += Spent::stop()?.in_entries(run.handler);
        run.check("B24", "sysfs follows the switch", right.is_some(), "");
    }
    for to in [2, 1, 2, 1] {
        set("trace", "")?;
        Spent::start(run.handler)?;
        map.message(&format!("switch_group {to}"))?;
        let before = reader.reads();
        until(SOON, || reader.reads() > before + 50);
        std::thread::sleep(Duration::from_secs(3));
        activations += Spent::stop()?.in_entries(run.handler);
    }
    let rounds = f64::from(ROUNDS);
    run.figure("a switch, 4 paths: instructions in the handler, each", switches / rounds);
    run.figure("an activation by dm: instructions in the handler, each", activations / rounds);
    run.figure("prep_fn: instructions a request, the tracer's own included", each_prep);
    run.check("G15", "the reader ends", reader.stop(SOON), map.status()?);
    map.remove()?;
    model.take_down()
}

#[cfg(test)]
mod tests {
    use super::Spent;

    #[test]
    fn time_in_commands_is_taken_away_and_tasks_are_kept_apart() {
        let text = "# tracer\n\
            \x20 0)  kworker-7    |               |  alua_rtpg_work() {\n\
            \x20 0)  kworker-7    |               |    scsi_execute_cmd() {\n\
            \x20------------------------------------------\n\
            \x20 0)  kworker-7    =>   fio-9 \n\
            \x20 0)    fio-9      |   0.250 us    |  alua_prep_fn [scsi_dh_alua]();\n\
            \x20 0)  kworker-7    |   1.500 us    |    alua_check_sense();\n\
            \x20 0)  kworker-7    |   0.500 us    |    blk_rq_map_kern();\n\
            \x20 0)  kworker-7    |   7.000 us    |    } /* scsi_execute_cmd */\n\
            \x20 0)  kworker-7    |  10.125 us    |  } /* alua_rtpg_work [scsi_dh_alua] */\n";
        let spent = Spent::read(text).unwrap();
        assert_eq!(spent.nanos["alua_rtpg_work"], 3_125);
        assert_eq!(spent.nanos["alua_check_sense"], 1_500);
        assert_eq!(spent.nanos["alua_prep_fn"], 250);
        assert_eq!(spent.calls.len(), 3);
    }
}
