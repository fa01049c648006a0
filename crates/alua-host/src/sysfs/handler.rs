//! What the device handler `scsi_dh_alua_rs` tells in debugfs (`kernel/debug/alua/units`, readable
//! for root): its units, their groups and paths, what it does with I/O, and why.
//!
//! # Format
//!
//! One line for each unit, and indented below it one for each of its groups and paths. A line is its
//! kind and words of the form `name=value`; a blank in a value is written `\040`. The last word,
//! `why="..."`, is a sentence. Kinds of lines and names that this program does not know are passed
//! over, as is a value that it does not understand: the module may be older or newer than the
//! program. Of a line without its key (`name`, `id`, `device`) nothing is kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::hctl::Hctl;

/// More than a module writes of all units that a kernel can have paths to.
const BYTES_MAX: u64 = 64 << 20;

/// What the device handler holds of one path, and of the unit to which it belongs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandlerView {
    /// The unit, with its groups and all its paths.
    pub unit: Arc<HandlerUnit>,
    /// The path itself.
    pub path: HandlerPath,
}

/// What the device handler holds of one logical unit. What it does not tell is `None`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HandlerUnit {
    /// The name by which its log calls the unit; not the unit's name in full.
    pub name: String,
    /// `off`, `implicit`, `explicit` or `both`.
    pub tpgs: Option<String>,
    /// Whether a reading of the states or an activation runs or is due.
    pub busy: Option<bool>,
    /// How long a transition may take, in milliseconds.
    pub limit_ms: Option<u64>,
    /// Whether the target answers the extended header; `None` before the first report.
    pub extended_header: Option<bool>,
    /// The age of the last report in milliseconds; `None` without one.
    pub report_age_ms: Option<u64>,
    /// When the handler has something to do by itself, in milliseconds from now; `None`: never.
    pub deadline_ms: Option<u64>,
    /// What was sent and saved.
    pub counters: HandlerCounters,
    /// Bytes of memory that the unit takes.
    pub bytes: Option<u64>,
    /// Why the last reading of the states failed; `None` where it did not.
    pub failure: Option<String>,
    /// Its groups.
    pub groups: Vec<HandlerGroup>,
    /// Its paths.
    pub paths: Vec<HandlerPath>,
}

/// How many commands the device handler sent for a unit since it found it, and what it saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HandlerCounters {
    /// REPORT TARGET PORT GROUPS sent.
    pub rtpg: Option<u64>,
    /// SET TARGET PORT GROUPS sent.
    pub stpg: Option<u64>,
    /// TEST UNIT READY sent.
    pub tur: Option<u64>,
    /// Readings of page 83h.
    pub identity_reads: Option<u64>,
    /// Triggers that an already wanted or running refresh served.
    pub coalesced: Option<u64>,
    /// Unit attentions found to be old news.
    pub old_news: Option<u64>,
    /// Refreshes that ended without a report.
    pub refresh_failures: Option<u64>,
    /// Commands among these that repeat one which brought nothing to go by.
    pub retries: Option<u64>,
}

/// What the device handler holds of one target port group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandlerGroup {
    /// TARGET PORT GROUP.
    pub id: u16,
    /// The state as sysfs names it; `None` where it is not known.
    pub state: Option<String>,
    /// PREF.
    pub preferred: Option<bool>,
    /// `none`, `running`, or `expired`: the transition outlived its limit.
    pub transition: Option<String>,
    /// Until the limit of a transition that runs, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// What the state rests on, in the handler's words.
    pub why: String,
}

/// What the device handler holds of one path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandlerPath {
    /// Its address.
    pub device: Hctl,
    /// Its target port group; `None` without one.
    pub group: Option<u16>,
    /// Its relative target port; `None` without one.
    pub relative_port: Option<u16>,
    /// The state that counts for the path, as sysfs names it; `None` where it is not known.
    pub state: Option<String>,
    /// What it does with I/O: `pass`, `hold` or `refuse`.
    pub gate: String,
    /// `verified`, `in-doubt`, `unreadable` or `changed`.
    pub identity: Option<String>,
    /// `untried`, `answered` or `failed`.
    pub transport: Option<String>,
    /// What the access state rests on, in the handler's words.
    pub why: String,
}

/// The views of all paths; none where the handler is not loaded, or may not be asked.
pub(super) fn read(sysfs: &Path) -> BTreeMap<Hctl, HandlerView> {
    let mut bytes = Vec::new();
    let file = File::open(sysfs.join("kernel/debug/alua/units"));
    match file.and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => by_path(handler_units(&String::from_utf8_lossy(&bytes))),
        Err(_) => BTreeMap::new(),
    }
}

/// A path that stands in two units belongs to the first.
fn by_path(units: Vec<HandlerUnit>) -> BTreeMap<Hctl, HandlerView> {
    let mut views = BTreeMap::new();
    for unit in units.into_iter().map(Arc::new) {
        for path in &unit.paths {
            let view = || HandlerView { unit: Arc::clone(&unit), path: path.clone() };
            views.entry(path.device).or_insert_with(view);
        }
    }
    views
}

/// The units in the text of the handler's file. Any text is taken; what it does not say is left out.
#[must_use]
pub fn handler_units(text: &str) -> Vec<HandlerUnit> {
    let mut units: Vec<HandlerUnit> = Vec::new();
    // Below a unit's line that is not understood, nothing belongs to the unit before it.
    let mut lost = true;
    for line in text.lines() {
        let (kind, line) = Line::parse(line);
        match (kind, units.last_mut().filter(|_| !lost)) {
            ("unit", _) => {
                let unit = unit(&line);
                lost = unit.is_none();
                units.extend(unit);
            }
            ("group", Some(unit)) => unit.groups.extend(group(&line)),
            ("path", Some(unit)) => unit.paths.extend(path(&line)),
            _ => {}
        }
    }
    units
}

fn unit(line: &Line<'_>) -> Option<HandlerUnit> {
    Some(HandlerUnit {
        name: line.text("name")?,
        tpgs: line.text("tpgs"),
        busy: line.flag("busy"),
        limit_ms: line.number("limit_ms"),
        extended_header: match line.word("extended") {
            Some("yes") => Some(true),
            Some("no") => Some(false),
            _ => None,
        },
        report_age_ms: line.number("report_age_ms"),
        deadline_ms: line.number("deadline_ms"),
        counters: HandlerCounters {
            rtpg: line.number("rtpg"),
            stpg: line.number("stpg"),
            tur: line.number("tur"),
            identity_reads: line.number("vpd"),
            coalesced: line.number("coalesced"),
            old_news: line.number("old_news"),
            refresh_failures: line.number("failures"),
            retries: line.number("retries"),
        },
        bytes: line.number("bytes"),
        failure: Some(line.why()).filter(|why| !why.is_empty()),
        groups: Vec::new(),
        paths: Vec::new(),
    })
}

fn group(line: &Line<'_>) -> Option<HandlerGroup> {
    Some(HandlerGroup {
        id: line.number("id")?,
        state: line.state(),
        preferred: line.flag("preferred"),
        transition: line.text("transition"),
        deadline_ms: line.number("deadline_ms"),
        why: line.why(),
    })
}

fn path(line: &Line<'_>) -> Option<HandlerPath> {
    Some(HandlerPath {
        device: line.word("device")?.parse().ok()?,
        group: line.number("group"),
        relative_port: line.number("port"),
        state: line.state(),
        gate: line.text("gate")?,
        identity: line.text("identity"),
        transport: line.text("transport"),
        why: line.why(),
    })
}

/// The words of a line behind its kind.
struct Line<'a> {
    words: &'a str,
    why: &'a str,
}

impl<'a> Line<'a> {
    /// A line and its kind.
    fn parse(line: &'a str) -> (&'a str, Self) {
        let line = line.trim();
        let (words, why) = match line.split_once(" why=\"") {
            Some((words, why)) => (words, why.strip_suffix('"').unwrap_or(why)),
            None => (line, ""),
        };
        let (kind, words) = words.split_once(' ').unwrap_or((words, ""));
        (kind, Self { words, why })
    }

    fn word(&self, name: &str) -> Option<&'a str> {
        self.words.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// A value for people: blanks as blanks, without control characters; an empty one is none.
    fn text(&self, name: &str) -> Option<String> {
        let text = printable(&self.word(name)?.replace("\\040", " "));
        Some(text).filter(|text| !text.is_empty())
    }

    /// A number that is not negative: -1 stands for none.
    fn number<N: FromStr>(&self, name: &str) -> Option<N> {
        let digits = self.word(name)?;
        // No sign.
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        if plain { digits.parse().ok() } else { None }
    }

    fn flag(&self, name: &str) -> Option<bool> {
        match self.word(name)? {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }

    fn state(&self) -> Option<String> {
        self.text("state").filter(|state| state != "unknown")
    }

    fn why(&self) -> String {
        printable(self.why)
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
unit name=t10.LIO-ORG\\040\\040disk0 tpgs=both busy=1 limit_ms=60000 extended=no report_age_ms=-1 \
deadline_ms=1999 rtpg=7 stpg=1 tur=2 vpd=3 coalesced=4 old_news=5 failures=6 retries=8 bytes=2048 \
why=\"the target answered status 08h\"
  group id=1 state=transitioning preferred=1 supported=df transition=running deadline_ms=59000 \
why=\"2:0:1:0 answered sense 2h 04/0A\"
  group id=2 state=unknown preferred=0 supported=00 transition=none deadline_ms=-1 \
why=\"nothing was read yet\"
  path device=2:0:1:0 group=1 port=3 state=standby gate=refuse identity=verified \
transport=answered why=\"2:0:1:0 answered sense 2h 04/0B\"
  path device=2:0:2:0 group=-1 port=-1 state=unknown gate=pass identity=in-doubt \
transport=failed why=\"the path names no target port group\"
";

    #[test]
    fn every_word_is_understood() {
        let units = handler_units(TEXT);
        let [unit] = &units[..] else { panic!("{units:?}") };
        assert_eq!(unit.name, "t10.LIO-ORG  disk0");
        assert_eq!(unit.tpgs.as_deref(), Some("both"));
        assert_eq!((unit.busy, unit.extended_header), (Some(true), Some(false)));
        assert_eq!((unit.limit_ms, unit.report_age_ms), (Some(60_000), None));
        assert_eq!((unit.deadline_ms, unit.bytes), (Some(1_999), Some(2_048)));
        let expected = HandlerCounters {
            rtpg: Some(7),
            stpg: Some(1),
            tur: Some(2),
            identity_reads: Some(3),
            coalesced: Some(4),
            old_news: Some(5),
            refresh_failures: Some(6),
            retries: Some(8),
        };
        assert_eq!(unit.counters, expected);
        assert_eq!(unit.failure.as_deref(), Some("the target answered status 08h"));
        let [first, second] = &unit.groups[..] else { panic!("{unit:?}") };
        assert_eq!((first.id, first.state.as_deref()), (1, Some("transitioning")));
        assert_eq!((first.preferred, first.deadline_ms), (Some(true), Some(59_000)));
        assert_eq!(first.transition.as_deref(), Some("running"));
        assert_eq!(first.why, "2:0:1:0 answered sense 2h 04/0A");
        assert_eq!((second.state.as_deref(), second.deadline_ms), (None, None));
        let [first, second] = &unit.paths[..] else { panic!("{unit:?}") };
        assert_eq!(first.device.to_string(), "2:0:1:0");
        assert_eq!((first.group, first.relative_port), (Some(1), Some(3)));
        assert_eq!((first.state.as_deref(), &*first.gate), (Some("standby"), "refuse"));
        assert_eq!(first.identity.as_deref(), Some("verified"));
        assert_eq!(first.transport.as_deref(), Some("answered"));
        assert_eq!(first.why, "2:0:1:0 answered sense 2h 04/0B");
        assert_eq!((second.group, second.relative_port, &second.state), (None, None, &None));
    }

    /// What a module wrote in guests of the lab (Linux 6.12, the module of this version).
    #[test]
    fn what_the_module_writes_is_understood() {
        let units = handler_units(include_str!("../../tests/data/debugfs-units-transition.txt"));
        let [unit] = &units[..] else { panic!("{units:?}") };
        assert_eq!(unit.name, "naa.600005e00531ebb4596191dc00000000");
        assert_eq!((unit.tpgs.as_deref(), unit.busy), (Some("both"), Some(true)));
        assert_eq!((unit.limit_ms, unit.extended_header), (Some(60_000), Some(true)));
        assert_eq!((unit.report_age_ms, unit.deadline_ms), (Some(2_850), Some(507)));
        let counters = HandlerCounters {
            rtpg: Some(1),
            stpg: Some(0),
            tur: Some(0),
            identity_reads: Some(0),
            coalesced: Some(1),
            old_news: Some(0),
            refresh_failures: Some(0),
            retries: Some(0),
        };
        assert_eq!((unit.counters, unit.bytes, &unit.failure), (counters, Some(3_040), &None));
        let deadlines: Vec<_> =
            unit.groups.iter().map(|group| (group.id, group.deadline_ms)).collect();
        assert_eq!(deadlines, [(1, Some(58_506)), (2, Some(58_512))]);
        assert!(unit.groups.iter().all(|group| group.transition.as_deref() == Some("running")));
        let last = HandlerPath {
            device: "3:0:1:0".parse().unwrap(),
            group: Some(2),
            relative_port: Some(4),
            state: Some("transitioning".to_owned()),
            gate: "pass".to_owned(),
            identity: Some("verified".to_owned()),
            transport: Some("answered".to_owned()),
            why: "3:0:1:0 answered sense 2h 04/0A".to_owned(),
        };
        assert_eq!((unit.paths.len(), unit.paths.last()), (4, Some(&last)));

        let units = handler_units(include_str!("../../tests/data/debugfs-units-blank.txt"));
        let [unit] = &units[..] else { panic!("{units:?}") };
        assert_eq!(unit.name, "name.iqn.2026-03.test.invalid:one disk");
        assert_eq!((unit.deadline_ms, unit.groups[0].deadline_ms), (None, None));
        assert_eq!((unit.groups.len(), unit.paths.len()), (2, 4));
    }

    #[test]
    fn each_path_finds_its_unit() {
        let views = by_path(handler_units(&format!("{TEXT}{TEXT}")));
        assert_eq!(views.len(), 2);
        for (hctl, view) in &views {
            assert_eq!((view.path.device, view.unit.paths.len()), (*hctl, 2));
        }
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let newer = "kind one=1\nunit name=a colour=red rtpg=x stpg=+1 tur=4294967296 why=\"\"\n\
                     \x20 port id=1\n  path device=1:0:0:0 gate=pass speed=9 why=\"\"\n";
        let units = handler_units(newer);
        assert_eq!((units.len(), units[0].paths.len()), (1, 1));
        let expected = HandlerCounters { tur: Some(1 << 32), ..HandlerCounters::default() };
        assert_eq!((units[0].counters, &units[0].failure), (expected, &None));
    }

    #[test]
    fn lines_without_a_key_or_a_unit_are_passed_over() {
        let orphans = "  path device=1:0:0:0 gate=pass why=\"\"\nunit name=a\nunit\n\
                       \x20 group id=1\n  path device=1:0:0:0 gate=pass why=\"\"\n";
        let [unit] = &handler_units(orphans)[..] else { panic!() };
        assert_eq!((unit.groups.len(), unit.paths.len()), (0, 0));
        for line in ["path", "path device=1:0:0 gate=pass", "path device=1:0:0:0", "group id=65536"]
        {
            let [unit] = &handler_units(&format!("unit name=a\n  {line}\n"))[..] else { panic!() };
            assert_eq!((unit.groups.len(), unit.paths.len()), (0, 0), "{line}");
        }
    }

    #[test]
    fn what_was_cut_anywhere_gives_what_stands_before_the_cut() {
        for end in 0..=TEXT.len() {
            let units = handler_units(&TEXT[..end]);
            assert!(units.len() <= 1 && units.iter().all(|unit| unit.paths.len() <= 2), "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "(?s).{0,400}") {
            let _ = by_path(handler_units(&text));
        }

        #[test]
        fn no_control_character_comes_through(
            words in proptest::collection::vec(
                ("(name|id|device|gate|state|why|tpgs|transition)", "[ -~\\x00-\\x1f\"=\\\\]{0,12}"),
                0..12,
            ),
            kinds in proptest::collection::vec("(unit|group|path) ", 12),
        ) {
            let mut text = "unit name=a\n".to_owned();
            for ((name, value), kind) in words.iter().zip(&kinds) {
                text.push_str(&format!("{kind}id=1 device=1:0:0:0 {name}={value} why=\"{value}\"\n"));
            }
            for unit in handler_units(&text) {
                let mut texts = vec![unit.name.clone()];
                texts.extend(unit.tpgs.iter().chain(&unit.failure).cloned());
                texts.extend(unit.groups.iter().flat_map(|group| group.state.clone()));
                texts.extend(unit.groups.iter().map(|group| group.why.clone()));
                texts.extend(unit.paths.iter().map(|path| path.gate.clone() + &path.why));
                prop_assert!(texts.iter().all(|text| !text.contains(char::is_control)));
            }
        }
    }
}
