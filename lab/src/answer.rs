//! What `alua list`, `alua rtpg` and `alua inquiry` say with `--json`, turned into statements.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::facts::{self, SUBJECT, Statement, Statements};
use crate::scenario::Change;
use crate::target::Place;

/// The schema that this code reads.
const MAJOR: u64 = 1;

/// Turns the answer into statements, by the units and ports of the scenario. `places` holds each
/// path with the disk that it is at the moment.
///
/// # Errors
///
/// The answer is not of the schema, or it speaks of disks that are not there.
pub fn statements(answer: &Value, places: &[(Place, String)]) -> Result<Vec<Statement>> {
    check_schema(answer)?;
    let by_disk: BTreeMap<&str, &Place> =
        places.iter().map(|(place, disk)| (disk.as_str(), place)).collect();
    let mut said = Statements::by(SUBJECT);
    for unit in answer["units"].as_array().context("no units")? {
        state_unit(unit, &by_disk, &mut said)?;
    }
    Ok(said.into_vec())
}

fn check_schema(answer: &Value) -> Result<()> {
    let major = answer["schema_version"]["major"].as_u64();
    ensure!(major == Some(MAJOR), "schema version {major:?}, expected {MAJOR}");
    Ok(())
}

/// What `alua rtpg` states through one path.
///
/// # Errors
///
/// The answer is not of the schema.
pub fn rtpg(answer: &Value, place: &Place, source: String) -> Result<Vec<Statement>> {
    check_schema(answer)?;
    let mut said = Statements::by(source);
    state_groups(answer, &place.unit, &mut said)?;
    Ok(said.into_vec())
}

/// What `alua inquiry` states of one path: standard INQUIRY data, and page 83h where it is there.
///
/// # Errors
///
/// An answer is not of the schema.
pub fn inquiry(
    standard: &Value,
    page83: Option<&Value>,
    place: &Place,
    disk: &str,
) -> Result<Vec<Statement>> {
    check_schema(standard)?;
    let mut said = Statements::by(format!("alua inquiry {disk}"));
    for property in ["vendor", "product", "revision", "tpgs"] {
        said.state_some(&place.unit, property, plain(&standard[property]));
    }
    if let Some(page) = page83 {
        check_schema(page)?;
        let path = facts::path(&place.unit, place.port);
        said.state_some(&place.unit, "name", plain(&page["name"]));
        said.state_some(&path, "group", plain(&page["group"]));
        said.state_some(&path, "relative port", plain(&page["relative_port"]));
    }
    Ok(said.into_vec())
}

/// The states of a group that `alua list --watch --json` showed, one after the other.
///
/// # Errors
///
/// A line is no JSON.
pub fn watched(text: &str, group: u16) -> Result<Vec<String>> {
    let mut lines = text.lines().map(|line| {
        serde_json::from_str::<Value>(line).with_context(|| format!("no JSON: {line}"))
    });
    let first = lines.next().context("alua list --watch showed nothing")??;
    let mut states = vec![state_of(&first, group)];
    for line in lines {
        let line = line?;
        if line["event"] == "group" && line["group"] == group {
            let state = plain(&line["to"]).unwrap_or_else(|| "nothing".to_owned());
            if states.last() != Some(&state) {
                states.push(state);
            }
        }
    }
    Ok(states)
}

/// The state of a group of the first unit in an answer of `alua list`.
#[must_use]
pub fn state_of(list: &Value, group: u16) -> String {
    let groups = list["units"][0]["groups"].as_array();
    let found = groups.and_then(|groups| groups.iter().find(|one| one["id"] == group));
    found.and_then(|one| plain(&one["state"])).unwrap_or_else(|| "nothing".to_owned())
}

/// Why `alua list` says that there is no ALUA, for each unit.
#[must_use]
pub fn reasons_off(answer: &Value) -> Vec<Option<String>> {
    let units = answer["units"].as_array();
    units.into_iter().flatten().map(|unit| plain(&unit["alua_off"])).collect()
}

fn state_unit(unit: &Value, by_disk: &BTreeMap<&str, &Place>, said: &mut Statements) -> Result<()> {
    let paths = unit["paths"].as_array().context("a unit without paths")?;
    let mut name = None;
    for path in paths {
        let disk = path["device"].as_str().context("a path without a device")?;
        let Some(place) = by_disk.get(disk) else {
            bail!("alua list shows {disk}, which is no path of this target");
        };
        if name.get_or_insert(&place.unit).as_str() != place.unit {
            bail!("alua list shows paths of two units as one");
        }
        state_path(path, place, said);
    }
    let name = name.context("a unit without a path")?;
    for (property, key) in [
        ("name", "name"),
        ("vendor", "vendor"),
        ("product", "product"),
        ("revision", "revision"),
        ("serial", "serial"),
        ("bytes", "size_bytes"),
        ("bytes of a block", "block_bytes"),
        ("tpgs", "tpgs"),
    ] {
        said.state_some(name, property, plain(&unit[key]));
    }
    let transition = unit["transition_time_ms"].as_u64().filter(|millis| *millis != 0);
    said.state_some(name, "transition time", transition.map(|millis| format!("{millis} ms")));
    state_groups(unit, name, said)
}

fn state_groups(holder: &Value, unit: &str, said: &mut Statements) -> Result<()> {
    let groups = holder["groups"].as_array().context("no groups")?;
    let mut ids = Vec::new();
    for group in groups {
        let id = group["id"].as_u64().context("a group without an id")?;
        ids.push(id);
        state_group(group, &facts::group(unit, id), said);
    }
    ids.sort_unstable();
    if !ids.is_empty() {
        let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
        said.state(unit, "groups", ids.join(" "));
    }
    Ok(())
}

fn state_group(group: &Value, name: &str, said: &mut Statements) {
    said.state_some(name, "state", plain(&group["state"]));
    said.state_some(name, "preferred", plain(&group["preferred"]));
    said.state_some(name, "status", plain(&group["status"]));
    if let Some(supported) = group["supported"].as_array() {
        let mut supported: Vec<String> = supported.iter().filter_map(plain).collect();
        supported.sort_unstable();
        said.state(name, "supported states", supported.join(" "));
    }
    if let Some(ports) = group["ports"].as_array() {
        let ports: Vec<String> = ports.iter().filter_map(plain).collect();
        said.state(name, "ports", ports.join(" "));
    }
}

fn state_path(path: &Value, place: &Place, said: &mut Statements) {
    let name = facts::path(&place.unit, place.port);
    for (property, key) in [
        ("hctl", "hctl"),
        ("group", "group"),
        ("relative port", "relative_port"),
        ("state", "state"),
        ("preferred", "preferred"),
    ] {
        said.state_some(&name, property, plain(&path[key]));
    }
}

/// A string, number or boolean as text; nothing for null and for what is not there.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Changes an answer as a `tamper` step asks.
///
/// # Errors
///
/// Nothing stands where the change points, or it changes nothing.
pub fn tamper(answer: &mut Value, change: &Change) -> Result<()> {
    let at = &change.at;
    let there = || format!("nothing stands at {at}");
    let Some(to) = &change.to else {
        let (parent, last) = at.rsplit_once('/').with_context(there)?;
        let parent = answer.pointer_mut(parent).with_context(there)?;
        let taken = match parent {
            Value::Object(members) => members.remove(last),
            Value::Array(elements) => {
                let index: usize = last.parse().with_context(there)?;
                (index < elements.len()).then(|| elements.remove(index))
            }
            _ => None,
        };
        return taken.map(drop).with_context(there);
    };
    let value = answer.pointer_mut(at).with_context(there)?;
    let to = serde_json::to_value(to)?;
    ensure!(*value != to, "{at} is {to} already: the change changes nothing");
    *value = to;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        json!({"schema_version": {"major": 1, "minor": 0}, "source": "linux", "problems": [],
            "units": [{"name": "naa.6001", "vendor": "LIO-ORG", "tpgs": "implicit",
                "size_bytes": 1024, "transition_time_ms": 2000,
                "groups": [{"id": 2, "state": "standby", "preferred": true, "ports": [1, 2],
                            "supported": ["standby", "active/optimized"], "status": "none"}],
                "paths": [{"device": "sdc", "hctl": "1:0:1:0", "group": 2, "relative_port": null,
                           "state": "standby", "preferred": true}]}]})
    }

    fn places() -> Vec<(Place, String)> {
        let place = Place { unit: "disk0".into(), port: 7, hctl: "1:0:1:0".into() };
        vec![(place, "sdc".to_owned())]
    }

    #[test]
    fn the_answer_is_stated_by_unit_and_port() {
        let said = statements(&answer(), &places()).unwrap();
        let said: Vec<String> = said.iter().map(|s| format!("{}={}", s.fact, s.value)).collect();
        for want in [
            "disk0: name=naa.6001",
            "disk0: bytes=1024",
            "disk0: transition time=2000 ms",
            "disk0: groups=2",
            "disk0 group 2: state=standby",
            "disk0 group 2: ports=1 2",
            "disk0 group 2: supported states=active/optimized standby",
            "disk0 port 7: preferred=true",
        ] {
            assert!(said.iter().any(|one| one == want), "{want} is missing in {said:?}");
        }
        assert!(!said.iter().any(|one| one.contains("relative port")), "null states nothing");
    }

    #[test]
    fn a_watch_is_read_by_group() {
        let first = answer().to_string();
        let text = format!(
            "{first}\n{}\n{}\n{}\n",
            json!({"event": "group", "group": 2, "to": "transitioning"}),
            json!({"event": "group", "group": 1, "to": "standby"}),
            json!({"event": "group", "group": 2, "to": "offline"}),
        );
        assert_eq!(watched(&text, 2).unwrap(), ["standby", "transitioning", "offline"]);
        assert!(watched("", 2).is_err());
        assert!(watched("text", 2).is_err());
    }

    #[test]
    fn a_disk_that_is_no_path_of_the_target_is_refused() {
        let error = statements(&answer(), &[]).unwrap_err();
        assert_eq!(error.to_string(), "alua list shows sdc, which is no path of this target");
    }

    #[test]
    fn another_schema_is_refused() {
        let mut answer = answer();
        answer["schema_version"]["major"] = json!(2);
        assert!(statements(&answer, &places()).is_err());
    }

    #[test]
    fn tampering_changes_removes_and_refuses_to_do_nothing() {
        let mut answer = answer();
        let change = |at: &str, to: Option<&str>| Change {
            at: at.to_owned(),
            to: to.map(|to| toml::Value::String(to.to_owned())),
        };
        tamper(&mut answer, &change("/units/0/groups/0/state", Some("offline"))).unwrap();
        assert_eq!(answer["units"][0]["groups"][0]["state"], "offline");
        tamper(&mut answer, &change("/units/0/paths/0", None)).unwrap();
        assert!(answer["units"][0]["paths"].as_array().unwrap().is_empty());
        assert!(tamper(&mut answer, &change("/units/0/vendor", Some("LIO-ORG"))).is_err());
        assert!(tamper(&mut answer, &change("/units/9/vendor", Some("X"))).is_err());
    }
}
