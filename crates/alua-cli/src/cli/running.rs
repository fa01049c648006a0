//! The arguments of the commands about running devices.

use std::net::SocketAddr;
use std::path::PathBuf;

use alua_core::select::{Policy, Preference};
use alua_core::unit::STPG_MAX;
use alua_export::nbd::server::Address;
use alua_multipath::{Activation, NoPath};
use clap::{Args, Subcommand};

#[derive(Clone, Debug, Args)]
pub(crate) struct Up {
    /// The unit: its name (naa....), the start of it, or one or more of its devices; with --array
    /// its name in the array file too. With several devices only these paths are used
    #[arg(value_name = "UNIT|DEVICE", required = true)]
    pub(crate) units: Vec<String>,
    /// Serve it by NBD: an address as 127.0.0.1:10809 (port 0: a free one), or unix:PATH. The
    /// default, on a free port of 127.0.0.1, without --ublk
    #[arg(long, value_name = "ADDRESS|unix:PATH", value_parser = nbd_address)]
    pub(crate) nbd: Option<Address>,
    /// Serve it as /dev/ublkbN
    #[arg(long)]
    pub(crate) ublk: bool,
    /// The number of the ublk device; the next that is free without it
    #[arg(long, value_name = "N", requires = "ublk")]
    pub(crate) ublk_id: Option<u32>,
    /// Take over the ublk device of an `alua up` that died
    #[arg(long, requires = "ublk_id")]
    pub(crate) recover: bool,
    /// How the next path is chosen among equals: round-robin, queue-depth, service-time, affinity
    #[arg(long, value_parser = policy, default_value = "service-time")]
    pub(crate) policy: Policy,
    /// What becomes of requests when no path is left: fail (at once), so many seconds, forever
    #[arg(long, value_name = "fail|SECS|forever", value_parser = no_path, default_value = "60")]
    pub(crate) no_path: NoPath,
    /// What the array's PREF bit counts for: ignore (nothing), within-state (between paths in the
    /// same state, the preferred go first), above-state (a preferred path goes before every other,
    /// a non-optimized one before an optimized one too)
    #[arg(long, value_name = "WHAT", value_parser = preference, default_value = "within-state")]
    pub(crate) preference: Preference,
    /// Seconds, up to 86400, that a better path must be live before I/O goes back to it from a
    /// worse one that works; never: `alua switch` brings it back by hand
    #[arg(long, value_name = "SECS|never", value_parser = failback, default_value = "0")]
    pub(crate) failback: Failback,
    /// When the array is asked for another access state (SET TARGET PORT GROUPS): never,
    /// nothing-live (when requests wait and no path is live), optimized-lost (also when every path
    /// to the optimized group has failed for so many seconds, up to 3600; 10 without a number)
    #[arg(
        long,
        value_name = "never|nothing-live|optimized-lost[=SECS]",
        value_parser = activate,
        default_value = "nothing-live"
    )]
    pub(crate) activate: Activation,
    /// The same as --activate never
    #[arg(long, conflicts_with = "activate")]
    pub(crate) no_activate: bool,
    /// SET TARGET PORT GROUPS in any minute, at most. Half of them are kept for when no path is live,
    /// and are spaced then
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u8).range(1..=i64::from(STPG_MAX)),
        default_value = "15"
    )]
    pub(crate) stpg_per_minute: u8,
    /// Never send LOGICAL UNIT RESET to end commands that nobody answered: writes of unknown
    /// outcome then wait until they count as over
    #[arg(long)]
    pub(crate) no_reset: bool,
    /// Seconds after which a command that nobody answered counts as over, where nothing proves it: on
    /// real disks from when the kernel has given it back. A write of unknown outcome waits that long.
    /// Shorter than the array really holds a lost command, old data may overwrite new
    #[arg(
        long,
        value_name = "SECS",
        value_parser = clap::value_parser!(u32).range(1..=3_600),
        default_value = "60"
    )]
    pub(crate) fence_wait: u32,
    /// Send TEST UNIT READY down one path after another, one each so many seconds, up to 86400. A
    /// target may tell of a change only on the paths of the group that has changed, and only to a
    /// command; never: what no I/O meets is not noticed before it is needed
    #[arg(long, value_name = "SECS|never", value_parser = idle_probe, default_value = "2")]
    pub(crate) idle_probe: IdleProbe,
    /// Give each command to a disk this many seconds
    #[arg(
        long,
        value_name = "SECS",
        value_parser = clap::value_parser!(u32).range(1..=3_600)
    )]
    pub(crate) io_timeout: Option<u32>,
    /// Take no writes
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Draw the run when it ends, as an SVG picture: paths with their states, what is used,
    /// requests and stalls, what happened
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) control: Control,
}

/// How long a better path must be live before I/O goes back to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failback {
    /// So many milliseconds.
    After(u32),
    /// Not by itself.
    Never,
}

impl Failback {
    /// What stands for never: the longest time that the engine can count, seven weeks.
    pub(crate) const NEVER_MS: u32 = u32::MAX;

    /// As the engine wants it, in milliseconds.
    pub(crate) const fn millis(self) -> u32 {
        match self {
            Self::After(millis) => millis,
            Self::Never => Self::NEVER_MS,
        }
    }
}

/// How often a path is asked though there is no reason to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IdleProbe {
    /// From one path to the next, in milliseconds.
    Every(u32),
    /// Not at all.
    Never,
}

impl IdleProbe {
    /// As the core wants it.
    pub(crate) const fn millis(self) -> Option<u32> {
        match self {
            Self::Every(millis) => Some(millis),
            Self::Never => None,
        }
    }
}

/// Where running devices are asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Control {
    /// The control socket; without it one per device in $XDG_RUNTIME_DIR/alua or /run/alua
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Status {
    /// Only this unit: its name, the start of its name, or one of its devices
    #[arg(value_name = "UNIT|DEVICE")]
    pub(crate) unit: Option<String>,
    #[command(flatten)]
    pub(crate) control: Control,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Switch {
    /// The unit: its name, the start of its name, or one of its devices
    #[arg(value_name = "UNIT|DEVICE")]
    pub(crate) unit: String,
    #[command(flatten)]
    pub(crate) to: SwitchTo,
    #[command(flatten)]
    pub(crate) control: Control,
}

#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SwitchTo {
    /// To the paths of this target port group
    #[arg(long, value_name = "ID")]
    pub(crate) group: Option<u16>,
    /// To this path
    #[arg(long, value_name = "DEVICE")]
    pub(crate) path: Option<String>,
    /// Let the policy choose again
    #[arg(long)]
    pub(crate) undo: bool,
}

/// What to do with a path of a running device.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PathCommand {
    /// Take it out until it is restored, whatever its state
    Fail(OnePath),
    /// Use it again, and forgive what it did before
    Restore(OnePath),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct OnePath {
    /// The path, as `alua status` calls it
    pub(crate) device: String,
    #[command(flatten)]
    pub(crate) control: Control,
}

fn nbd_address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => Err("a path must follow unix:".to_owned()),
            path => Ok(Address::Unix(path.into())),
        };
    }
    let address: SocketAddr = text.parse().map_err(|_| {
        "must be an address with a port, as 127.0.0.1:10809, or unix:PATH".to_owned()
    })?;
    Ok(Address::Tcp(address))
}

fn policy(text: &str) -> Result<Policy, String> {
    let names = Policy::ALL.map(Policy::name).join(", ");
    let known = Policy::ALL.into_iter().find(|policy| policy.name() == text);
    known.ok_or_else(|| format!("must be one of {names}"))
}

fn no_path(text: &str) -> Result<NoPath, String> {
    match text {
        "fail" => Ok(NoPath::Fail),
        "forever" => Ok(NoPath::Forever),
        seconds => {
            let seconds: u32 =
                seconds.parse().map_err(|_| "must be fail, forever, or seconds".to_owned())?;
            let millis = seconds.checked_mul(1_000).ok_or("must be less than 4294967 s")?;
            Ok(NoPath::Wait(millis))
        }
    }
}

/// The values of `--preference`, in the order of the help.
const PREFERENCES: [(&str, Preference); 3] = [
    ("ignore", Preference::Ignore),
    ("within-state", Preference::WithinState),
    ("above-state", Preference::AboveState),
];

fn preference(text: &str) -> Result<Preference, String> {
    let names = PREFERENCES.map(|(name, _)| name).join(", ");
    let known = PREFERENCES.into_iter().find(|(name, _)| *name == text);
    known.map(|(_, preference)| preference).ok_or_else(|| format!("must be one of {names}"))
}

/// How `--preference` calls it.
pub(crate) fn preference_name(preference: Preference) -> &'static str {
    let known = PREFERENCES.into_iter().find(|(_, other)| *other == preference);
    known.map_or("", |(name, _)| name)
}

/// Whole seconds up to `most`, in milliseconds.
fn seconds(text: &str, most: u32) -> Option<u32> {
    let seconds: u32 = text.parse().ok().filter(|seconds| *seconds <= most)?;
    seconds.checked_mul(1_000)
}

fn failback(text: &str) -> Result<Failback, String> {
    const MOST: u32 = 86_400;
    if text == "never" {
        return Ok(Failback::Never);
    }
    let after = seconds(text, MOST).map(Failback::After);
    after.ok_or_else(|| format!("must be never, or seconds from 0 to {MOST}"))
}

fn idle_probe(text: &str) -> Result<IdleProbe, String> {
    const MOST: u32 = 86_400;
    if text == "never" {
        return Ok(IdleProbe::Never);
    }
    let every = seconds(text, MOST).filter(|millis| *millis > 0).map(IdleProbe::Every);
    every.ok_or_else(|| format!("must be never, or seconds from 1 to {MOST}"))
}

/// How long the optimized group must be lost, where no time is given.
const OPTIMIZED_LOST_MS: u32 = 10_000;

fn activate(text: &str) -> Result<Activation, String> {
    const MOST: u32 = 3_600;
    let wrong = || {
        format!(
            "must be never, nothing-live, or optimized-lost[=SECS] with seconds from 0 to {MOST}"
        )
    };
    match text.split_once('=') {
        None if text == "never" => Ok(Activation::Never),
        None if text == "nothing-live" => Ok(Activation::NothingLive),
        None if text == "optimized-lost" => {
            Ok(Activation::OptimizedLost { after_ms: OPTIMIZED_LOST_MS })
        }
        Some(("optimized-lost", time)) => {
            let after_ms = seconds(time, MOST).ok_or_else(wrong)?;
            Ok(Activation::OptimizedLost { after_ms })
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_preference_failback_probe_or_activation_is_refused() {
        for (name, value) in PREFERENCES {
            assert_eq!(preference(name), Ok(value));
            assert_eq!(preference_name(value), name);
        }
        assert!(preference("above").is_err());
        assert_eq!(failback("0"), Ok(Failback::After(0)));
        assert_eq!(failback("86400"), Ok(Failback::After(86_400_000)));
        assert_eq!(failback("never"), Ok(Failback::Never));
        for wrong in ["86401", "-1", "1.5", "", "manual"] {
            assert!(failback(wrong).is_err(), "{wrong}");
        }
        assert_eq!(idle_probe("never"), Ok(IdleProbe::Never));
        assert_eq!(idle_probe("86400"), Ok(IdleProbe::Every(86_400_000)));
        for wrong in ["0", "86401", "-1", "0.5", "", "always"] {
            assert!(idle_probe(wrong).is_err(), "{wrong}");
        }
        let lost = |after_ms| Ok(Activation::OptimizedLost { after_ms });
        assert_eq!(activate("never"), Ok(Activation::Never));
        assert_eq!(activate("nothing-live"), Ok(Activation::NothingLive));
        assert_eq!(activate("optimized-lost"), lost(10_000));
        assert_eq!(activate("optimized-lost=0"), lost(0));
        assert_eq!(activate("optimized-lost=3600"), lost(3_600_000));
        for wrong in ["optimized-lost=", "optimized-lost=3601", "never=1", "nothing-live=2", ""] {
            assert!(activate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_address_policy_or_time_is_refused() {
        assert_eq!(nbd_address("unix:/run/x"), Ok(Address::Unix("/run/x".into())));
        assert_eq!(nbd_address("[::1]:0"), Ok(Address::Tcp("[::1]:0".parse().unwrap())));
        for wrong in ["unix:", "localhost", "1.2.3.4", "/run/x"] {
            assert!(nbd_address(wrong).is_err(), "{wrong}");
        }
        assert_eq!(policy("queue-depth"), Ok(Policy::QueueDepth));
        assert!(policy("best").is_err());
        assert_eq!(no_path("2"), Ok(NoPath::Wait(2_000)));
        assert_eq!(no_path("forever"), Ok(NoPath::Forever));
        assert!(no_path("4294968").is_err() && no_path("-1").is_err());
    }
}
