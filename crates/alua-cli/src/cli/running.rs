//! The arguments of the commands about running devices.

use std::net::SocketAddr;
use std::path::PathBuf;

use alua_core::select::Policy;
use alua_export::nbd::server::Address;
use alua_multipath::NoPath;
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
    /// Never ask the array for another access state (SET TARGET PORT GROUPS)
    #[arg(long)]
    pub(crate) no_activate: bool,
    /// Never send LOGICAL UNIT RESET to end commands that nobody answered: writes of unknown
    /// outcome then wait until they count as over
    #[arg(long)]
    pub(crate) no_reset: bool,
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
    #[command(flatten)]
    pub(crate) control: Control,
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

#[cfg(test)]
mod tests {
    use super::*;

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
