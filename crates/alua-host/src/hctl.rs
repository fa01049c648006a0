//! The address of a path in Linux: host, channel, target, LUN.

use std::fmt;
use std::str::FromStr;

/// `H:C:T:L`, by which Linux names a path to a logical unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hctl {
    /// The host number of the SCSI host (the initiator port).
    pub host: u32,
    /// The channel of the host; 0 for most.
    pub channel: u32,
    /// The target (the remote port) as the host numbers it.
    pub target: u32,
    /// The LUN as Linux turns it into a number.
    pub lun: u64,
}

/// A text that is no `H:C:T:L`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is not H:C:T:L (four decimal numbers with colons between them)")]
pub struct NotHctl {
    /// The text.
    pub text: String,
}

impl FromStr for Hctl {
    type Err = NotHctl;

    fn from_str(text: &str) -> Result<Self, NotHctl> {
        parse(text).ok_or_else(|| NotHctl { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Hctl> {
    let mut parts = text.split(':');
    let hctl = Hctl {
        host: number(parts.next()?)?,
        channel: number(parts.next()?)?,
        target: number(parts.next()?)?,
        lun: number(parts.next()?)?,
    };
    parts.next().is_none().then_some(hctl)
}

/// Decimal digits only: no sign, no blank.
fn number<N: FromStr>(digits: &str) -> Option<N> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

impl fmt::Display for Hctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, channel, target, lun } = self;
        if f.width().is_some() {
            return f.pad(&format!("{host}:{channel}:{target}:{lun}"));
        }
        write!(f, "{host}:{channel}:{target}:{lun}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["0:0:0:0", "12:0:3:255", "4294967295:1:2:18446744073709551615"] {
            assert_eq!(text.parse::<Hctl>().unwrap().to_string(), text);
        }
        assert_eq!(format!("{:<9}|", "2:0:0:1".parse::<Hctl>().unwrap()), "2:0:0:1  |");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "1:2:3",
            "1:2:3:4:5",
            "a:0:0:0",
            "+1:0:0:0",
            "1: 0:0:0",
            "1:0:0:",
            "4294967296:0:0:0",
            "host1",
            "target0:0:0",
            "-1:0:0:0",
        ] {
            assert!(text.parse::<Hctl>().is_err(), "{text}");
        }
    }
}
