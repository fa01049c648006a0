//! The table that stays in its place on a terminal while the device runs.

use std::fmt::Write as _;
use std::time::Duration;

use alua_core::access::AccessState;
use alua_device::PathSnapshot;

use crate::render::style::{FAINT, GOOD, STRONG, paint};

/// Lines of the table.
pub(super) const ROWS: usize = 8;

/// What it shows at one moment, beside the paths.
pub(super) struct Frame<'a> {
    /// Since the start.
    pub(super) at: Duration,
    /// Requests that ended.
    pub(super) requests: u64,
    /// The longest of them since the last frame.
    pub(super) longest: Duration,
    /// What happened last to the array.
    pub(super) last: &'a str,
}

impl Frame<'_> {
    /// The text that replaces the table before it: always [`ROWS`] lines, however many paths there are
    /// and however narrow the terminal is, for the next one begins so many lines above its end.
    pub(super) fn text(&self, paths: &[PathSnapshot]) -> String {
        let head = format!(
            "{:>7.1} s  {} requests, the longest just now {:.1} ms",
            self.at.as_secs_f64(),
            self.requests,
            self.longest.as_secs_f64() * 1e3
        );
        let mut rows = vec![head, paint(STRONG, self.last).to_string(), String::new()];
        rows.extend(paths.iter().map(row));
        rows.resize(ROWS, String::new());
        // The cursor goes up, and a line that is too long is cut at the edge instead of wrapped.
        let mut out = format!("\x1b[{ROWS}A\x1b[?7l");
        for row in rows {
            let _ = writeln!(out, "\x1b[2K{row}");
        }
        out.push_str("\x1b[?7h");
        out
    }
}

fn row(path: &PathSnapshot) -> String {
    let view = &path.view;
    let state = view.state.map_or("unknown", AccessState::name);
    let group = view.group.map_or_else(|| "-".to_owned(), |group| group.to_string());
    let mark = if view.used { paint(GOOD, "used") } else { paint(FAINT, "  - ") };
    format!(
        "  {mark}  {:<6} group {group}  {state:<22} {:>4} in flight  {}",
        path.label,
        view.in_flight,
        view.reason()
    )
}

#[cfg(test)]
mod tests {
    use alua_array::shipped;
    use alua_device::model::{ModelArray, Serve};

    use super::*;

    /// The paths of the demonstration's unit, when the states are known and one was taken out.
    fn paths() -> Vec<PathSnapshot> {
        let array = ModelArray::start(shipped::DEMO.build());
        let device = array.serve(&Serve::unit("data0")).unwrap();
        let first = device.snapshot().unwrap().paths[0].view.id;
        assert!(device.set_failed(first, true).unwrap());
        for _ in 0..400 {
            let paths = device.snapshot().unwrap().paths;
            if paths.iter().all(|path| path.view.state.is_some()) {
                device.stop(Duration::from_secs(10)).unwrap();
                return paths;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the states are not known");
    }

    #[test]
    fn the_table_says_what_happens_and_how_each_path_stands() {
        let frame = Frame {
            at: Duration::from_millis(12_345),
            requests: 678,
            longest: Duration::from_micros(2_340),
            last: "the port is back",
        };
        let paths = paths();
        let text = frame.text(&paths);
        let shown = anstream::adapter::strip_str(&text).to_string();
        let mut expected = String::from(
            "   12.3 s  678 requests, the longest just now 2.3 ms\nthe port is back\n\n",
        );
        for (path, rest) in paths.iter().zip([
            "  -   %  group 1  active/optimized          0 in flight  it was taken out by hand",
            "used  %  group 1  active/optimized          0 in flight  it is one of the best paths",
            "  -   %  group 2  active/non-optimized      0 in flight  a better path is live",
            "  -   %  group 2  active/non-optimized      0 in flight  a better path is live",
        ]) {
            let _ = writeln!(expected, "  {}", rest.replace('%', &format!("{:<5}", path.label)));
        }
        expected.push('\n');
        assert_eq!(shown, expected, "{text:?}");
    }

    #[test]
    fn the_table_takes_the_place_of_the_one_before_with_any_number_of_paths() {
        let frame = Frame { at: Duration::ZERO, requests: 0, longest: Duration::ZERO, last: "" };
        let four = paths();
        let many = [&four[..], &four[..], &four[..]].concat();
        for paths in [&[][..], &four[..1], &four[..], &many[..]] {
            let text = frame.text(paths);
            let lines = text.strip_prefix("\x1b[8A\x1b[?7l").unwrap();
            let lines = lines.strip_suffix("\x1b[?7h").unwrap();
            assert_eq!(lines.lines().count(), ROWS, "{text:?}");
            assert!(lines.ends_with('\n'), "{text:?}");
            assert!(lines.lines().all(|line| line.starts_with("\x1b[2K")), "{text:?}");
        }
    }
}
