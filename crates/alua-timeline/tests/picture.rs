//! Whole pictures: one that is kept, and the limits.

use alua_timeline::{Mark, ROWS_MAX, Request, Row, SLICES, Span, State, Timeline};

const MS: u64 = 1_000_000;

/// A failover in 100 ms.
fn failover() -> Timeline {
    let mut rows = [Row::new("group 1", "port 1"), Row::new("group 2", "port 2")];
    rows[0].note(0, Some((State::ActiveOptimized, true)));
    rows[1].note(0, Some((State::ActiveNonOptimized, false)));
    rows[0].note(40 * MS, Some((State::Unavailable, false)));
    rows[1].note(40 * MS, Some((State::Transitioning, false)));
    rows[1].note(60 * MS, Some((State::ActiveOptimized, true)));
    rows[0].note(90 * MS, None);
    let request = |submitted, ended, failed| Request { submitted, ended, failed };
    Timeline {
        title: "a failover".to_owned(),
        from: 0,
        to: 100 * MS,
        stall: 10 * MS,
        rows: rows.to_vec(),
        requests: vec![
            request(5 * MS, 6 * MS, false),
            request(39 * MS, 61 * MS, false),
            request(41 * MS, 61 * MS, true),
        ],
        marks: vec![Mark { at: 40 * MS, text: "controller crash".to_owned() }],
        ..Timeline::default()
    }
}

/// `UPDATE_PICTURE=1` writes the file anew: look at it before it is committed.
#[test]
fn the_picture_is_as_it_was() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/failover.svg");
    let picture = failover().render();
    if std::env::var_os("UPDATE_PICTURE").is_some() {
        std::fs::write(file, &picture).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap();
    assert!(picture == kept, "the picture differs from {file}");
}

#[test]
fn an_empty_run_is_a_picture() {
    let picture = Timeline::default().render();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(!picture.contains("NaN") && !picture.contains("inf"));
}

#[test]
fn text_from_elsewhere_makes_no_elements() {
    let bad = "</text><script>&\"'\0";
    let mut run = failover();
    run.title = bad.to_owned();
    run.marks[0].text = bad.to_owned();
    run.rows[0].name = bad.to_owned();
    run.rows[1].group = bad.to_owned();
    let picture = run.render();
    assert!(!picture.contains("<script") && !picture.contains('\0'));
    assert_eq!(picture.matches("&lt;script&gt;&amp;").count(), 5, "the title stands twice");
}

/// The size of a picture of a run with `count` of everything.
fn size(count: u64) -> usize {
    let rows = (0..count.min(200)).map(|at| {
        let mut row = Row::new(format!("group {}", at % 7), "p".repeat(1_000));
        row.spans = (0..count)
            .map(|at| Span {
                from: at * MS,
                to: (at + 1) * MS,
                state: State::ALL[at as usize % 8],
                used: at % 3 == 0,
            })
            .collect();
        row
    });
    let requests = (0..count).map(|at| Request {
        submitted: at * MS,
        ended: (at + 7) * MS,
        failed: at % 2 == 0,
    });
    let marks = (0..count).map(|at| Mark { at: at * MS, text: "m&".repeat(1_000) });
    let run = Timeline {
        title: "t".repeat(100_000),
        from: 0,
        to: count * MS,
        stall: MS,
        rows: rows.collect(),
        requests: requests.collect(),
        marks: marks.collect(),
        ..Timeline::default()
    };
    run.render().len()
}

/// A slice of a row is at most two rectangles; a slice of the rest at most six elements.
#[test]
fn the_size_has_a_limit_whatever_the_run_is() {
    let most = (ROWS_MAX * 2 + 6) * SLICES * 110;
    assert!(size(20_000) < most, "{} of {most}", size(20_000));
    let (long, longer) = (size(5_000), size(40_000));
    assert!(longer < long + long / 4, "{long}, then {longer}");
}

#[test]
fn marks_that_are_too_near_for_labels_are_named_by_their_line() {
    let mut run = failover();
    for text in ["a < b", "c"] {
        run.marks.push(Mark { at: 40 * MS, text: text.to_owned() });
    }
    let picture = run.render();
    assert!(picture.contains(">controller crash +2</text>"));
    assert!(picture.contains("<title>controller crash; a &lt; b; c</title></path>"));
}

#[test]
fn what_is_left_out_is_told_of() {
    let mut run = failover();
    run.note = "before 12 s & more: left out".to_owned();
    assert!(run.render().contains(">before 12 s &amp; more: left out</text>"));
}

#[test]
fn rows_that_are_not_drawn_are_told_of() {
    let mut run = failover();
    run.rows = (0..ROWS_MAX + 3).map(|at| Row::new("group", at.to_string())).collect();
    assert!(run.render().contains("and 3 more paths, not drawn"));
}

#[test]
fn a_row_that_is_noted_again_goes_on() {
    let mut row = Row::new("", "");
    for at in 0..5 {
        row.note(at, Some((State::Standby, false)));
    }
    row.note(7, Some((State::ActiveOptimized, true)));
    row.note(7, Some((State::ActiveOptimized, false)));
    row.note(9, None);
    row.note(10, None);
    let ends: Vec<_> = row.spans.iter().map(|it| (it.from, it.to, it.state, it.used)).collect();
    assert_eq!(ends, [(0, 7, State::Standby, false), (7, 9, State::ActiveOptimized, false)]);
}
