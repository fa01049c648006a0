//! Units, groups and paths as a person reads them, in the manner of `multipath -ll`.

use std::fmt::Write as _;

use super::style::{self, BAD, FAINT, GOOD, STRONG, WAIT, padded, paint};
use crate::view::{GroupView, Listing, PathView, UnitView};

/// The whole listing.
pub(crate) fn listing(listing: &Listing) -> String {
    let mut out = String::new();
    for (index, unit) in listing.units.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        self::unit(&mut out, unit);
    }
    if listing.units.is_empty() {
        out.push_str("no SCSI disk was found\n");
    }
    problems(&mut out, listing);
    out
}

/// What could not be asked. The same message of many devices is told once.
pub(crate) fn problems(out: &mut String, listing: &Listing) {
    let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
    for problem in &listing.problems {
        match told.iter_mut().find(|(message, _)| *message == problem.message) {
            Some((_, devices)) => devices.push(&problem.device),
            None => told.push((&problem.message, vec![&problem.device])),
        }
    }
    if !told.is_empty() && !out.is_empty() {
        out.push('\n');
    }
    for (message, devices) in told {
        let _ = writeln!(out, "{} {}: {message}", paint(BAD, "problem:"), devices.join(" "));
    }
}

/// One unit.
pub(crate) fn unit(out: &mut String, unit: &UnitView) {
    let name = unit.name.as_deref().unwrap_or("(no name in page 83h)");
    let _ = write!(out, "{}", paint(STRONG, name));
    for map in &unit.maps {
        let _ = write!(out, " ({map})");
    }
    let _ = write!(out, "  {},{} {}", unit.vendor, unit.product, unit.revision);
    let _ = writeln!(out, "  {}", unit.size_bytes.map_or("size unknown".to_owned(), size));
    let _ = writeln!(out, "  {}", alua_line(unit));
    if let Some(server) = &unit.served_by {
        let text = match &server.places[..] {
            [] => format!("process {} starts to serve it", server.pid),
            places => format!("served as {} by process {}", places.join(" and "), server.pid),
        };
        let _ = writeln!(out, "  {}", paint(GOOD, &text));
    }
    if unit.alua_off.is_some() {
        // Without ALUA a group says nothing.
        flat_paths(out, &unit.paths.iter().collect::<Vec<_>>(), unit);
        return;
    }
    let common = common_support(unit);
    if let Some(states) = &common {
        let text = format!("each group supports {states}");
        let _ = writeln!(out, "  {}", paint(FAINT, &text));
    }
    if let Some(error) = &unit.refresh_error {
        let _ = writeln!(out, "  {} {error}", paint(BAD, "states not read:"));
    }
    let orphans: Vec<&PathView> = unit
        .paths
        .iter()
        .filter(|path| path.group.is_none_or(|id| unit.groups.iter().all(|group| group.id != id)))
        .collect();
    let last_group = if orphans.is_empty() { unit.groups.len() } else { usize::MAX };
    for (index, group) in unit.groups.iter().enumerate() {
        let is_last = index + 1 == last_group;
        group_lines(out, unit, group, is_last, common.is_none());
    }
    flat_paths(out, &orphans, unit);
}

/// Paths without a group.
fn flat_paths(out: &mut String, paths: &[&PathView], unit: &UnitView) {
    let width = Widths::of(unit);
    for (index, path) in paths.iter().enumerate() {
        let corner = if index + 1 == paths.len() { "`-" } else { "|-" };
        path_line(out, &format!("  {corner} "), "    ", path, &width, None);
    }
}

fn alua_line(unit: &UnitView) -> String {
    let mut line = match &unit.alua_off {
        Some(off) => format!("ALUA off: {off}"),
        None => format!("ALUA {}", unit.tpgs),
    };
    if let Some(limit) = unit.transition_time_ms {
        let from = match unit.extended_header {
            Some(true) => "",
            Some(false) => ", no extended header",
            None => ", default",
        };
        let _ = write!(line, "; a transition may take {}{from}", span(limit));
    }
    if let Some(serial) = &unit.serial {
        let _ = write!(line, "; serial {serial}");
    }
    line
}

/// The states that all groups support alike, which then need not be said of each.
fn common_support(unit: &UnitView) -> Option<String> {
    let (first, rest) = unit.groups.split_first()?;
    let same = rest.iter().all(|group| group.supported == first.supported);
    (same && !first.supported.is_empty()).then(|| supported(first))
}

fn group_lines(
    out: &mut String,
    unit: &UnitView,
    group: &GroupView,
    is_last: bool,
    say_support: bool,
) {
    let (corner, bar) = if is_last { ("`-", "  ") } else { ("|-", "| ") };
    let state = group.state.as_deref().unwrap_or("state unknown");
    let style = style::of_state(group.state.as_deref());
    let _ = write!(out, "  {corner} group {}: {}", group.id, paint(style, state));
    if group.preferred {
        out.push_str(", preferred");
    }
    if let Some(transition) = &group.transition {
        let since = span(transition.elapsed_ms);
        let text = match transition.remaining_ms {
            Some(left) => format!(", for {since}, at most {} more", span(left)),
            None => format!(", in transition for {since}, longer than allowed"),
        };
        let _ = write!(out, "{}", paint(WAIT, &text));
    }
    match group.status.as_deref() {
        Some("set target port groups") => out.push_str(", set by a host"),
        Some("implicit") => out.push_str(", set by the target"),
        _ => {}
    }
    if say_support && !group.supported.is_empty() {
        let supports = format!("  (supports {})", supported(group));
        let _ = write!(out, "{}", paint(FAINT, &supports));
    }
    out.push('\n');
    if group.cause.kind != "report" && group.cause.kind != "alua off" {
        let _ = writeln!(out, "  {bar}   {}", paint(WAIT, &group.cause.text));
    }
    let paths: Vec<&PathView> =
        unit.paths.iter().filter(|path| path.group == Some(group.id)).collect();
    let width = Widths::of(unit);
    for (index, path) in paths.iter().enumerate() {
        let corner = if index + 1 == paths.len() { "`-" } else { "|-" };
        let lead = format!("  {bar} {corner} ");
        path_line(out, &lead, &format!("  {bar}    "), path, &width, group.state.as_deref());
    }
    if paths.is_empty() {
        let ports: Vec<String> = group.ports.iter().map(ToString::to_string).collect();
        let text = match ports.len() {
            0 => "no path".to_owned(),
            1 => format!("no path (port {} of the target)", ports.concat()),
            _ => format!("no path (ports {} of the target)", ports.join(", ")),
        };
        let _ = writeln!(out, "  {bar} `- {}", paint(FAINT, &text));
    }
}

/// The states that a group supports, short enough for one line.
fn supported(group: &GroupView) -> String {
    let short: Vec<&str> = group
        .supported
        .iter()
        .map(|state| match &**state {
            "active/optimized" => "optimized",
            "active/non-optimized" => "non-optimized",
            other => other,
        })
        .collect();
    short.join(", ")
}

struct Widths {
    device: usize,
    hctl: usize,
    port: usize,
    state: usize,
}

impl Widths {
    fn of(unit: &UnitView) -> Self {
        let most =
            |length: fn(&PathView) -> usize| unit.paths.iter().map(length).max().unwrap_or(0);
        Self {
            device: most(|path| path.device.len()),
            hctl: most(|path| hctl_text(path).len()),
            port: most(|path| port_text(path).len()),
            state: most(|path| state_text(path).len()),
        }
    }
}

/// The address, unless the device has no other name.
fn hctl_text(path: &PathView) -> &str {
    if path.hctl == path.device { "" } else { &path.hctl }
}

fn port_text(path: &PathView) -> String {
    path.relative_port.map_or_else(|| "port ?".to_owned(), |port| format!("port {port}"))
}

fn state_text(path: &PathView) -> &str {
    let unknown = if path.cause.kind == "alua off" { "no ALUA" } else { "state unknown" };
    path.state.as_deref().unwrap_or(unknown)
}

fn path_line(
    out: &mut String,
    lead: &str,
    below: &str,
    path: &PathView,
    width: &Widths,
    group_state: Option<&str>,
) {
    let style = style::of_state(path.state.as_deref());
    let health = if path.health == "ok" { GOOD } else { BAD };
    let _ = write!(
        out,
        "{lead}{}  {:hctl$}  {:port$}  {}  {}",
        padded(STRONG, &path.device, width.device),
        hctl_text(path),
        port_text(path),
        padded(style, state_text(path), width.state),
        paint(health, &path.health),
        hctl = width.hctl,
        port = width.port,
    );
    match (path.usable, &*path.gate) {
        (true, _) => {}
        (false, "hold") => {
            let _ = write!(out, "  {}", paint(WAIT, "I/O waits"));
        }
        (false, _) => {
            let _ = write!(out, "  {}", paint(BAD, "no I/O"));
        }
    }
    let kernel = path.kernel.access_state.as_deref();
    if kernel.is_some() && kernel != path.state.as_deref() {
        let text = format!("kernel says {}", kernel.unwrap_or_default());
        let _ = write!(out, "  {}", paint(WAIT, &text));
    }
    out.push('\n');
    if path.contradicted {
        let text = format!(
            "the path contradicts its group ({}): {}",
            group_state.unwrap_or("unknown"),
            path.cause.text
        );
        let _ = writeln!(out, "{below}{}", paint(BAD, &text));
    }
    for finding in &path.findings {
        let _ = writeln!(out, "{below}{}", paint(WAIT, finding));
    }
}

/// A size with its unit, as lsblk shows it.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut scale = 1_u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale = scale.saturating_mul(1024);
        unit += 1;
    }
    if bytes.is_multiple_of(scale) {
        return format!("{} {}", bytes / scale, UNITS[unit]);
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(scale) / 2) / u128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A length of time in words: `5 ms`, `2.5 s`, `60 s`.
pub(crate) fn span(ms: impl Into<u64>) -> String {
    let ms = ms.into();
    match ms {
        0..1_000 => format!("{ms} ms"),
        _ if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        _ => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_never_wrong_by_more_than_a_tenth() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1024 * 1024), "1 MiB");
        assert_eq!(size(1_500_000), "1.4 MiB");
        assert_eq!(size(10 << 30), "10 GiB");
        assert_eq!(size(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(span(5_u32), "5 ms");
        assert_eq!(span(2_500_u32), "2.5 s");
        assert_eq!(span(255_000_u32), "255 s");
    }
}
