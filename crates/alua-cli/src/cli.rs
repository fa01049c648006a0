//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit::Exit;
use crate::target::Choice;

pub(crate) mod running;

/// See, explain and change the asymmetric access (ALUA) of SCSI disks.
///
/// Works on the disks of this machine or, with --array, on a model array in memory that needs
/// neither SCSI hardware nor privileges.
#[derive(Clone, Debug, Parser)]
#[command(name = "alua", version, arg_required_else_help = true, propagate_version = true)]
#[command(after_long_help = exit_codes())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A part of the demonstration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum DemoPart {
    /// One block device over all paths, under load, for fifteen seconds
    #[default]
    Device,
    /// Discovery, a controller failover, an explanation and an activation
    Tour,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Work on a model array: the name of a built-in one (see `alua array`), or a TOML file
    #[arg(long, global = true, value_name = "NAME|FILE", help_heading = "Global options")]
    pub(crate) array: Option<String>,
    /// Let the events of this TOML file happen to the model array
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        requires = "array",
        help_heading = "Global options"
    )]
    pub(crate) script: Option<PathBuf>,
    /// Begin when the model array's clock stands at this many seconds
    #[arg(
        long,
        global = true,
        value_name = "SECS",
        requires = "array",
        value_parser = seconds,
        help_heading = "Global options"
    )]
    pub(crate) at: Option<u64>,
    /// Look for SCSI devices in this sysfs (a container sees the host's elsewhere)
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/sys",
        hide_default_value = true,
        help_heading = "Global options"
    )]
    pub(crate) sysfs: PathBuf,
    /// Look for device nodes in this directory
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/dev",
        hide_default_value = true,
        help_heading = "Global options"
    )]
    pub(crate) dev: PathBuf,
    /// Print JSON instead of text (schema: docs/json.md)
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Tell of each command sent, with its CDB, outcome and time, on standard error
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) verbose: bool,
    /// Colours: on a terminal, always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Global options"
    )]
    pub(crate) color: Color,
    /// Give each SCSI command this many seconds
    #[arg(
        long,
        global = true,
        value_name = "SECS",
        value_parser = clap::value_parser!(u32).range(1..=3_600),
        help_heading = "Global options"
    )]
    pub(crate) timeout: Option<u32>,
}

impl Global {
    /// What the options say about the world.
    pub(crate) fn choice(&self) -> Choice {
        Choice {
            sysfs: self.sysfs.clone(),
            dev: self.dev.clone(),
            array: self.array.clone(),
            script: self.script.clone(),
            verbose: self.verbose,
            timeout_ms: self.timeout.map(|secs| secs.saturating_mul(1_000)),
            at_ms: self.at,
        }
    }
}

/// When to use colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all logical units with their groups and paths
    List(List),
    /// Show one logical unit
    Show(Show),
    /// Say why a path is used or not: state, cause, sense data, rule, and what to do
    Explain(Explain),
    /// Read the access states by REPORT TARGET PORT GROUPS through one path
    Rtpg(Rtpg),
    /// Ask for access states by SET TARGET PORT GROUPS, and verify them
    Stpg(Stpg),
    /// Send TEST UNIT READY down one path
    Tur(Tur),
    /// Read standard INQUIRY data or a VPD page through one path
    Inquiry(Inquiry),
    /// Make a target port group of a logical unit active/optimized
    Activate(Activate),
    /// Serve a logical unit as one block device over all its paths, by NBD or ublk, until told to
    /// stop by SIGTERM or SIGINT
    Up(running::Up),
    /// Show the devices that `alua up` serves, with each path's state and why it is used or not
    Status(running::Status),
    /// Let a running device use one group or one path while that works
    Switch(running::Switch),
    /// Take a path of a running device out, or use it again
    Path {
        /// What to do
        #[command(subcommand)]
        command: running::PathCommand,
    },
    /// Check whether a target keeps the rules of asymmetric access, through one or several paths
    Check(Check),
    /// Say what a saved dump means: hex or binary, as sg3_utils users keep them
    Decode(Decode),
    /// Show what this is for, on the built-in array: one block device that loses nothing while
    /// controllers fail over, or a tour of what ALUA tells
    Demo {
        /// What to show
        #[arg(value_enum, default_value_t)]
        part: DemoPart,
        /// Draw the run of the device into this file, as SVG
        #[arg(long, value_name = "FILE")]
        timeline: Option<PathBuf>,
    },
    /// List, print and check array files
    Array {
        /// What to do; lists the built-in arrays without it
        #[command(subcommand)]
        command: Option<ArrayCommand>,
    },
    /// Serve a model array as an iSCSI target, and let things happen to it
    Target {
        /// What to do
        #[command(subcommand)]
        command: TargetCommand,
    },
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all pages
    Man {
        /// Write a page for each command into this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// What to do with array files.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ArrayCommand {
    /// List the built-in arrays
    List,
    /// Print the file of a built-in array, to begin one's own with
    Print {
        /// Its name
        name: String,
    },
    /// Check an array file
    Check {
        /// The file, or the name of a built-in array
        file: String,
    },
}

/// What to do with a target.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// Serve the array of --array (the built-in one without it) on loopback, until interrupted
    Serve(TargetServe),
    /// Let an event happen to a running target
    Event(TargetEvent),
    /// Show portals, states and sessions of a running target
    Status(TargetStatus),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TargetServe {
    /// Serve a target port of the array at this address: `127.0.0.1:3260=1`, `[::1]:3260=2`. Can be
    /// given several times; without it every port has an address of its own in 127.0.0.0/8
    #[arg(long = "portal", value_name = "ADDR:TCPPORT=PORT")]
    pub(crate) portals: Vec<String>,
    /// Ask initiators for CHAP, with the names and secrets in this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets: Option<PathBuf>,
    /// Keep the data of the units in this folder, a sparse file for each; else in memory only
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Take orders at this socket; by default alua-target.sock in XDG_RUNTIME_DIR
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// Let each command take the time that the array file says, not only the time it really takes
    #[arg(long)]
    pub(crate) model_times: bool,
    /// Announce unit attentions by Asynchronous Messages too
    #[arg(long)]
    pub(crate) announce: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TargetEvent {
    /// An event as in `[[event]]` of an array file (switch, set-state, port-down, fault, ...),
    /// or cut, dismiss, request-logout, stop
    #[arg(value_name = "EVENT")]
    pub(crate) what: String,
    /// Its settings: to=B transition=2s
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// The target's control socket
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TargetStatus {
    /// The target's control socket
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct List {
    /// Only this unit: its name, the start of its name, or one of its devices
    pub(crate) unit: Option<String>,
    /// Send TEST UNIT READY down each path too, and compare
    #[arg(long)]
    pub(crate) check: bool,
    /// Show it again and again, every so many seconds (2 without a number) and when the kernel
    /// tells of a change; without a terminal one line per change
    #[arg(
        short,
        long,
        value_name = "SECS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub(crate) watch: Option<u32>,
    /// With --watch, end after so many readings
    #[arg(long, value_name = "N", requires = "watch")]
    pub(crate) count: Option<u32>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Show {
    /// The unit: its name (naa....), the start of it, or one of its devices
    #[arg(value_name = "UNIT|DEVICE")]
    pub(crate) unit: String,
    /// Send TEST UNIT READY down each path too, and compare
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Rtpg {
    /// The path: sda, /dev/sda, /dev/sg0, 2:0:0:0, ...
    pub(crate) device: String,
    /// Ask for the length-only header; otherwise the extended one, and the other when it is refused
    #[arg(long, visible_alias = "length-only")]
    pub(crate) short: bool,
    /// Print the report as hex
    #[arg(long, conflicts_with_all = ["raw", "json"])]
    pub(crate) hex: bool,
    /// Write the report's bytes
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Stpg {
    /// The unit, or one of its devices
    #[arg(value_name = "UNIT|DEVICE")]
    pub(crate) unit: String,
    /// Ask for a state of a target port group. States: active/optimized (or ao),
    /// active/non-optimized (an), standby (s), unavailable (u). Can be given several times: all go
    /// in one command
    #[arg(long = "group", value_name = "ID=STATE", required_unless_present = "ports")]
    pub(crate) groups: Vec<String>,
    /// Ask for a relative target port to go offline: ID=offline. SET TARGET PORT GROUPS addresses
    /// ports there, not groups
    #[arg(long = "port", value_name = "ID=offline")]
    pub(crate) ports: Vec<String>,
    /// Check everything and show what would be sent, but send no SET TARGET PORT GROUPS
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait for the end of the transition
    #[arg(long)]
    pub(crate) wait: bool,
    /// Send it even where the support bits or the limit per minute speak against it
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Tur {
    /// The path: sda, /dev/sda, /dev/sg0, 2:0:0:0, ...
    pub(crate) device: String,
    /// How often
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
    /// Milliseconds between two
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) delay: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Inquiry {
    /// The path: sda, /dev/sda, /dev/sg0, 2:0:0:0, ...
    pub(crate) device: String,
    /// Read this VPD page: 00, 80, 83 or any other number in hex
    #[arg(long, value_name = "PAGE", value_parser = hex_byte)]
    pub(crate) vpd: Option<u8>,
    /// Print the data as hex
    #[arg(long, conflicts_with_all = ["raw", "json"])]
    pub(crate) hex: bool,
    /// Write the data's bytes
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Activate {
    /// The unit, or one of its devices
    #[arg(value_name = "UNIT|DEVICE")]
    pub(crate) unit: String,
    /// The target port group
    #[arg(long, value_name = "ID")]
    pub(crate) group: u16,
    /// Return as soon as the target has accepted it
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// Seconds with up to three decimals, as milliseconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "must be seconds, as in 3 or 2.5".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(wrong());
    }
    let millis = format!("{part:0<3}").parse::<u64>().map_err(|_| wrong())?;
    let whole = whole.parse::<u64>().map_err(|_| wrong())?;
    whole.checked_mul(1_000).and_then(|ms| ms.checked_add(millis)).ok_or_else(wrong)
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Check {
    /// The paths, all of one unit; or one name of the unit, for all of its paths
    #[arg(value_name = "DEVICE|UNIT", required_unless_present = "list")]
    pub(crate) devices: Vec<String>,
    /// Also send SET TARGET PORT GROUPS: groups switch, and are put back
    #[arg(long)]
    pub(crate) explicit: bool,
    /// Also write to the last block and reserve the unit; both are put back. Nobody else may use
    /// the unit meanwhile
    #[arg(long, requires = "explicit")]
    pub(crate) destructive: bool,
    /// Only this check. Can be given several times
    #[arg(long, value_name = "ID")]
    pub(crate) only: Vec<String>,
    /// Wait so long for the end of a transition whose target does not tell how long it may take
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) patience: Option<u32>,
    /// List the checks with their rules and sources
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Explain {
    /// The path: sda, /dev/sda, /dev/sg0, 2:0:0:0, ...
    pub(crate) device: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Decode {
    /// What the dump is of
    pub(crate) kind: DumpKind,
    /// The dump, or - for standard input: output of sg_rtpg -H, sg_inq --hex, xxd, hexdump -C or
    /// this program, a C array, bare hex digits, raw bytes
    pub(crate) file: PathBuf,
    /// Take the input as raw bytes, even if it could be text
    #[arg(long)]
    pub(crate) raw: bool,
    /// Leave out bytes that follow the data
    #[arg(long)]
    pub(crate) cut: bool,
}

/// What a dump is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum DumpKind {
    /// REPORT TARGET PORT GROUPS data
    Rtpg,
    /// VPD page 83h
    Page83,
    /// Sense data
    Sense,
    /// Standard INQUIRY data
    Inquiry,
}

fn hex_byte(text: &str) -> Result<u8, String> {
    let digits = text.trim_start_matches("0x").trim_end_matches(['h', 'H']);
    u8::from_str_radix(digits, 16).map_err(|_| "a page is two hex digits, as in 83".to_owned())
}

/// The exit codes, as help and manual show them.
pub(crate) fn exit_codes() -> String {
    let mut text = String::from("Exit codes (those below 100 as in sg3_utils):\n");
    for exit in Exit::ALL {
        text.push_str(&format!("  {:>3}  {}\n", exit.code(), exit.meaning()));
    }
    text
}
