//! `alua target event` and `alua target status`: a word to a running target.

use std::fmt::Write as _;

use super::control::{self, Answer, Request, Status};
use crate::cli::{Global, TargetEvent, TargetStatus};
use crate::commands::print;
use crate::error::Error;
use crate::exit::Exit;
use crate::render::json;

pub(super) fn happen(args: &TargetEvent) -> Result<Exit, Error> {
    let request = request(&args.what, &args.settings)?;
    match control::ask(args.control.as_deref(), &request)? {
        Answer::Failed { error } => Err(Error::Usage(error)),
        Answer::Done { connections: Some(count) } => {
            print(&format!("{count} connections\n"))?;
            Ok(Exit::Good)
        }
        _ => Ok(Exit::Good),
    }
}

/// The request that the words of the command line make.
fn request(what: &str, settings: &[String]) -> Result<Request, Error> {
    let pairs = settings.iter().map(|setting| {
        let wrong = || Error::Usage(format!("{setting:?}: a setting is KEY=VALUE"));
        setting.split_once('=').ok_or_else(wrong)
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let number = |key: &str| match pairs.iter().find(|(name, _)| *name == key) {
        None => Ok(None),
        Some((_, value)) => {
            let wrong = |_| Error::Usage(format!("{key}={value}: must be a number up to 65535"));
            value.parse::<u16>().map(Some).map_err(wrong)
        }
    };
    let known = |allowed: &[&str]| match pairs.iter().find(|(key, _)| !allowed.contains(key)) {
        None => Ok(()),
        Some((key, _)) => Err(Error::Usage(format!("{what} has no setting {key}"))),
    };
    Ok(match what {
        "cut" => {
            known(&["port"])?;
            Request::Cut { port: number("port")? }
        }
        "dismiss" => {
            known(&["port"])?;
            Request::Dismiss { port: number("port")? }
        }
        "request-logout" => {
            known(&["port", "seconds"])?;
            let seconds = number("seconds")?.unwrap_or(10);
            Request::Logout { port: number("port")?, seconds }
        }
        "stop" => {
            known(&[])?;
            Request::Stop
        }
        _ => {
            let mut toml = format!("do = {}\n", quoted(what));
            for (key, value) in pairs {
                // Writing to a String cannot fail.
                let _ = writeln!(toml, "{key} = {}", value_of(key, value));
            }
            Request::Event { toml }
        }
    })
}

/// Keys of events and faults whose values are integers. Names and bytes may look like some.
const INTEGERS: [&str; 11] = [
    "group",
    "port",
    "lun",
    "blocks",
    "opcode",
    "skip",
    "count",
    "per_mille",
    "offset",
    "bytes",
    "step",
];
/// Keys whose values are lists of names.
const LISTS: [&str; 2] = ["command", "function"];

/// A value as TOML writes it: lists, tables and quoted strings as they are, booleans, the integers of
/// the keys that have such, lists with commas; any other word as a string.
fn value_of(key: &str, value: &str) -> String {
    let hex = |digits: &str| u64::from_str_radix(digits, 16).is_ok();
    let number = value.strip_prefix("0x").map_or(value.parse::<u64>().is_ok(), hex);
    let literal = (INTEGERS.contains(&key) && number) || value == "true" || value == "false";
    if literal || value.starts_with(['[', '{', '"', '\'']) {
        value.to_owned()
    } else if LISTS.contains(&key) {
        format!("[{}]", value.split(',').map(quoted).collect::<Vec<_>>().join(", "))
    } else {
        quoted(value)
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

pub(super) fn status(global: &Global, args: &TargetStatus) -> Result<Exit, Error> {
    match control::ask(args.control.as_deref(), &Request::Status)? {
        Answer::Status(status) if global.json => print(&json::text(&status)?)?,
        Answer::Status(status) => print(&text(&status))?,
        _ => return Err(Error::Text("the target answers something else".to_owned())),
    }
    Ok(Exit::Good)
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let seconds = status.up_ms / 1_000;
    let _ = writeln!(text, "{}, up for {seconds} s", status.name);
    for portal in &status.portals {
        let group = portal.group.map_or_else(String::new, |group| format!(" of group {group}"));
        let down = if portal.up { "" } else { ", down" };
        let _ = writeln!(text, "  portal {}: port {}{group}{down}", portal.address, portal.port);
    }
    for unit in &status.units {
        let _ = writeln!(text, "  unit {}", unit.name);
        for group in &unit.groups {
            let preferred = if group.preferred { ", preferred" } else { "" };
            let _ = writeln!(text, "    group {}: {}{preferred}", group.id, group.state);
        }
    }
    for session in &status.sessions {
        let away = if session.connected { "" } else { ", away" };
        let _ = writeln!(
            text,
            "  {} {} at port {}: {} commands{away}",
            session.nexus, session.initiator, session.port, session.commands
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_an_event() {
        let settings = ["to=B", "transition=2s"].map(str::to_owned);
        let Request::Event { toml } = request("switch", &settings).unwrap() else { panic!() };
        assert_eq!(toml, "do = \"switch\"\nto = \"B\"\ntransition = \"2s\"\n");
        let settings = ["group=1", "quiet=true", "alua={ stpg = \"failed\" }"].map(str::to_owned);
        let Request::Event { toml } = request("x", &settings).unwrap() else { panic!() };
        assert!(toml.contains("group = 1\nquiet = true\nalua = { stpg = \"failed\" }\n"), "{toml}");
        let settings = [
            "name=7",
            "command=read-16,write-16",
            "opcode=0x88",
            "count=3",
            "action=patch",
            "offset=1",
            "data=00",
        ];
        let Request::Event { toml } = request("fault", &settings.map(str::to_owned)).unwrap()
        else {
            panic!()
        };
        let base = alua_array::AluaSettings::default();
        let alua_array::Event::Fault { fault } =
            alua_array::Event::from_toml(&toml, &base).unwrap()
        else {
            panic!("{toml}")
        };
        assert_eq!((&*fault.name, fault.commands.len()), ("7", 2));
        assert_eq!((fault.opcode, fault.count), (Some(0x88), Some(3)));
        let odd = ["unit=a\"\nb".to_owned()];
        let Request::Event { toml } = request("x", &odd).unwrap() else { panic!() };
        assert!(toml::from_str::<toml::Table>(&toml).is_ok(), "{toml}");
    }

    #[test]
    fn what_the_target_does_itself_is_no_event_of_the_array() {
        let port = ["port=3".to_owned()];
        assert_eq!(request("cut", &port).unwrap(), Request::Cut { port: Some(3) });
        assert!(request("cut", &["ports=3".to_owned()]).is_err());
        assert!(request("cut", &["port=x".to_owned()]).is_err());
        assert!(request("switch", &["to".to_owned()]).is_err());
        assert_eq!(
            request("request-logout", &[]).unwrap(),
            Request::Logout { port: None, seconds: 10 }
        );
    }
}
