//! The handler under test: loading it, and the kernel's log.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command;
use crate::sysfs::write;

/// Which handler is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handler {
    /// The distribution's `scsi_dh_alua`.
    Stock,
    /// `scsi_dh_alua_rs`.
    Ours,
}

/// Where our module is.
const MODULE: &str = "/run/bin/scsi_dh_alua_rs.ko";

impl Handler {
    /// The handler with that name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "stock" => Ok(Self::Stock),
            "ours" => Ok(Self::Ours),
            _ => bail!("there is no handler {name}"),
        }
    }

    /// Loads the handler.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn load(self) -> Result<()> {
        match self {
            Self::Stock => self.load_with(&[]),
            // Looks again at what is stuck after three seconds: scenarios do not wait thirty.
            Self::Ours => self.load_with(&["reprobe_secs=3"]),
        }
    }

    /// Loads the handler with parameters.
    pub(crate) fn load_with(self, parameters: &[&str]) -> Result<()> {
        let (program, module) = match self {
            Self::Stock => ("modprobe", "scsi_dh_alua"),
            Self::Ours => ("insmod", MODULE),
        };
        tool(program, &[&[module], parameters].concat())
    }

    /// Unloads the handler.
    ///
    /// # Errors
    ///
    /// A device has it.
    pub(crate) fn unload(self) -> Result<()> {
        tool(
            "rmmod",
            &[match self {
                Self::Stock => "scsi_dh_alua",
                Self::Ours => "scsi_dh_alua_rs",
            }],
        )
    }
}

/// Runs a program that has to end well.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Result<()> {
    let output = command::run(program, arguments, command::LIMIT)?;
    ensure!(output.status == 0, "{program} {}: {}", arguments.join(" "), output.said());
    Ok(())
}

/// Mounts what the scenarios look at, and loads what they need but the handler.
///
/// # Errors
///
/// The kernel refuses.
pub fn prepare() -> Result<()> {
    let modules = [
        "-a",
        "configfs",
        "sd_mod",
        "sg",
        "dm_multipath",
        "dm_round_robin",
        "dm_service_time",
        "target_core_mod",
        "target_core_user",
        "target_core_file",
        "tcm_loop",
    ];
    tool("modprobe", &modules)?;
    for (kind, at) in [
        ("configfs", "/sys/kernel/config"),
        ("debugfs", "/sys/kernel/debug"),
        ("tracefs", "/sys/kernel/tracing"),
    ] {
        if !std::fs::read_to_string("/proc/mounts")?.contains(&format!(" {at} ")) {
            tool("mount", &["-t", kind, kind, at])?;
        }
    }
    // A task that hangs is a finding after a minute; the kernel's own limit is two.
    let limit = Path::new("/proc/sys/kernel/hung_task_timeout_secs");
    if limit.exists() {
        write(limit, "60")?;
    }
    Ok(())
}

/// The kernel's log from now on. A thread reads along, so that what a long scenario makes the kernel
/// say is read before it is overwritten.
#[derive(Debug)]
pub struct Log(Arc<Mutex<Reader>>);

#[derive(Debug)]
struct Reader {
    file: File,
    records: Records,
}

/// What was read and not yet asked for.
#[derive(Default, Debug)]
struct Records {
    lines: Vec<String>,
    next: Option<u64>,
    lost: u64,
}

/// How often the thread reads.
const TURN: Duration = Duration::from_secs(1);

/// Words of lines that no kernel may write.
const BAD: [&str; 12] = [
    "WARNING:",
    "BUG:",
    "Oops",
    "RIP:",
    "Call Trace",
    "INFO: task",
    "INFO: rcu",
    "possible",
    "KASAN",
    "UBSAN",
    "kmemleak",
    "general protection",
];

/// Whether no kernel may write this line. That a work hogs its processor counts if it is one of ours.
fn is_bad(line: &str) -> bool {
    BAD.iter().any(|bad| line.contains(bad))
        || (line.contains("hogged CPU") && line.contains("alua_"))
}

/// Where a report of lockdep begins and ends.
const CIRCLE: (&str, &str) = ("possible circular locking dependency", "</TASK>");

/// A circle that lockdep sees where none is, without the handler: request-based dm-multipath writes
/// back on a work item and asks the disk's queue for a request, and a disk that goes waits for its own
/// such work item with its queue frozen. To lockdep the two work items are one.
fn is_known(report: &[String]) -> bool {
    let names = |word: &str| report.iter().any(|line| line.contains(word));
    let circle = ["(&wb->dwork)", "q_usage_counter", "multipath_clone_and_map", "del_gendisk"];
    // Another processor may say something in between.
    let others = ["scsi_dh_alua_rs", "BUG:", "KASAN", "UBSAN", "Oops", "INFO:", "kmemleak"];
    let warnings = report.iter().filter(|line| line.contains("WARNING:")).count();
    circle.into_iter().all(names) && !others.into_iter().any(names) && warnings == 1
}

/// Takes such reports out.
fn without_known(lines: Vec<String>) -> Vec<String> {
    let mut rest = Vec::new();
    let mut lines = lines.into_iter();
    while let Some(line) = lines.next() {
        if !line.contains(CIRCLE.0) {
            rest.push(line);
            continue;
        }
        let mut report = vec![line];
        for line in lines.by_ref() {
            let last = line.contains(CIRCLE.1);
            report.push(line);
            if last {
                break;
            }
        }
        if !is_known(&report) {
            rest.append(&mut report);
        }
    }
    rest
}

impl Records {
    /// Takes a record of `/dev/kmsg`: `level,sequence,time,flags;line`, then lines of a dictionary.
    fn take(&mut self, record: &str) {
        let (head, line) = record.split_once(';').unwrap_or(("", record));
        if let Some(number) = head.split(',').nth(1).and_then(|number| number.parse::<u64>().ok()) {
            // Where records were overwritten before they were read, the numbers have a gap.
            self.lost += self.next.map_or(0, |next| number.saturating_sub(next));
            self.next = Some(number + 1);
        }
        self.lines.push(line.lines().next().unwrap_or_default().to_owned());
    }

    /// What no kernel may write among it, and whether some of it is missing. Forgets it all.
    fn warnings(&mut self) -> Vec<String> {
        let lines = without_known(std::mem::take(&mut self.lines));
        let mut warnings: Vec<String> = lines.into_iter().filter(|line| is_bad(line)).collect();
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            warnings.push(format!(
                "{lost} records of the kernel's log were lost before they were read"
            ));
        }
        warnings
    }
}

impl Reader {
    /// Reads what there is.
    fn read(&mut self) -> io::Result<()> {
        let mut record = [0; 8_192];
        loop {
            match self.file.read(&mut record) {
                Ok(0) => return Ok(()),
                Ok(length) => self.records.take(&String::from_utf8_lossy(&record[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Records were overwritten before they were read: the next number tells how many.
                Err(error) if error.raw_os_error() == Some(EPIPE) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

const EPIPE: i32 = 32;

fn locked(reader: &Mutex<Reader>) -> MutexGuard<'_, Reader> {
    reader.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Opens the log. What was said before does not count.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn open() -> Result<Self> {
        const O_NONBLOCK: i32 = 0o4000;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open("/dev/kmsg")
            .context("/dev/kmsg")?;
        let mut reader = Reader { file, records: Records::default() };
        reader.read()?;
        reader.records = Records { next: reader.records.next, ..Records::default() };
        let reader = Arc::new(Mutex::new(reader));
        let other = Arc::downgrade(&reader);
        thread::spawn(move || {
            // An error comes again where the lines are asked for.
            while let Some(reader) = other.upgrade() {
                let _ = locked(&reader).read();
                drop(reader);
                thread::sleep(TURN);
            }
        });
        Ok(Self(reader))
    }

    /// The lines since the last call that no kernel may write, and a line where some were lost.
    pub(crate) fn warnings(&self) -> Result<Vec<String>> {
        let mut reader = locked(&self.0);
        reader.read()?;
        Ok(reader.records.warnings())
    }
}

#[cfg(test)]
mod tests {
    use super::Records;

    fn warnings(records: &[&str]) -> Vec<String> {
        let mut read = Records::default();
        for record in records {
            read.take(record);
        }
        read.warnings()
    }

    #[test]
    fn a_line_that_no_kernel_may_write_is_seen_and_others_are_not() {
        let said = warnings(&[
            "6,10,500,-;sd 2:0:0:0: alua: naa.6001405, group 1, port 1, explicit\n SUBSYSTEM=scsi\n",
            "4,11,501,-;WARNING: CPU: 0 PID: 7 at kernel/x.c:1\n",
            "4,12,502,-;workqueue: blk_mq_run_work_fn hogged CPU for >10000us 4 times\n",
            "4,13,503,-;workqueue: alua_command_work [scsi_dh_alua_rs] hogged CPU for >10000us\n",
        ]);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("WARNING:") && said[1].contains("alua_command_work"));
    }

    #[test]
    fn a_circle_of_other_locks_is_not_ours_and_any_other_is_seen() {
        let report = |frame: &str| {
            let lines = [
                "WARNING: possible circular locking dependency detected",
                "((work_completion)(&(&wb->dwork)->work)){+.+.}-{0:0}, at: __flush_work",
                "(&q->q_usage_counter(queue)#2){++++}-{0:0}, at: sd_remove",
                "       multipath_clone_and_map+0x124/0x210",
                frame,
                "Call Trace:",
                " del_gendisk+0x25f/0x4e0",
                "RIP: 0033:0x7f5194e02737",
                " </TASK>",
            ];
            warnings(&lines.map(|line| format!("4,10,500,-;{line}")).each_ref().map(String::as_str))
        };
        assert_eq!(report("       wb_workfn+0x35f/0x460"), [] as [&str; 0]);
        assert_eq!(report("       alua_prep+0x1/0x2 [scsi_dh_alua_rs]").len(), 3);
        assert_eq!(report("BUG: KASAN: slab-use-after-free in x").len(), 4);
        assert_eq!(report("WARNING: CPU: 1 PID: 7 at kernel/x.c:1").len(), 4);
        assert_eq!(
            warnings(&["4,10,500,-;WARNING: possible circular locking", "4,11,1,-;x"]).len(),
            1
        );
    }

    #[test]
    fn lost_records_are_told_once_with_their_number() {
        let mut read = Records::default();
        read.take("6,10,500,-;one\n");
        read.take("6,14,500,-;five\n");
        let said = read.warnings();
        assert!(said.len() == 1 && said[0].starts_with("3 records"), "{said:?}");
        read.take("6,15,500,-;six\n");
        assert!(read.warnings().is_empty());
    }
}
