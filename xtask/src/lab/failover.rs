//! `cargo xtask lab failover` and `cargo xtask lab cost`: what is measured in a guest whose clock
//! counts instructions. What is measured and how stands in `lab/src/failover`.

use std::fmt::Write as _;
use std::fs;

use alua_lab::failover::{Batch, Contender, Event, Sample, cost};
use anyhow::{Context, Result, bail};

use super::boot;
use super::image::Image;
use super::scenarios::Share;
use crate::run;

const FILE: &str = "docs/failover.md";
/// Depths at which the instructions of a request are counted.
const DEPTHS: [u32; 2] = [1, 32];

/// What the guest runs.
const RUN: &str = "#!/bin/sh
mkdir /run/bin
cp /host/alua /host/alua-lab-failover /run/bin/
export PATH=/run/bin:$PATH XDG_RUNTIME_DIR=/run
ip link set lo up
exec /run/bin/alua-lab-failover /host
";

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Kinds of events: nothing, implicit, explicit, swap, transition, offline, removal, hang
    events: Vec<String>,
    /// How often each event is made to happen
    #[arg(long, default_value_t = 20)]
    times: u32,
    /// Who serves the device: dm-shipped, dm-tuned, ublk, nbd; the first three without this
    #[arg(long)]
    contender: Vec<String>,
    /// Write docs/failover.md from what the last runs left in the cache, and measure nothing
    #[arg(long)]
    page: bool,
}

/// Who is measured where nobody is named.
const USUAL: [Contender; 3] = [Contender::Shipped, Contender::Tuned, Contender::Ublk];

/// `cargo xtask lab failover`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.page {
        return write_page(&kept()?);
    }
    let event = |name: &String| {
        Event::named(name).with_context(|| format!("there is no kind of event called {name}"))
    };
    let events: Vec<Event> = match &args.events[..] {
        [] => Event::ALL.to_vec(),
        names => names.iter().map(event).collect::<Result<_>>()?,
    };
    let named =
        |name: &String| Contender::named(name).with_context(|| format!("nobody is called {name}"));
    let contenders: Vec<Contender> = match &args.contender[..] {
        [] => USUAL.to_vec(),
        names => names.iter().map(named).collect::<Result<_>>()?,
    };
    let mut todo = Vec::new();
    for event in &events {
        for contender in &contenders {
            todo.push(format!("failover {} {} {}", contender.name(), event.name(), args.times));
        }
    }
    let mut errors = Vec::new();
    // One that fails keeps its guest from going on: the rest goes on in the next.
    while !todo.is_empty() {
        let lines = measure(&todo)?;
        let mut done = 0;
        for line in lines {
            let batch: Batch = serde_json::from_str(&line).context("the guest's results")?;
            keep(&todo[done], &batch)?;
            errors.extend(batch.error.map(|error| format!("{}: {error}", todo[done])));
            done += 1;
        }
        if done == 0 {
            bail!("`{}` gave no result: the guest's console is above", todo[0]);
        }
        todo.drain(..done);
    }
    print!("{}", table(&kept()?));
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    if args.events.is_empty() && args.contender.is_empty() {
        write_page(&kept()?)?;
    }
    Ok(())
}

/// Measures these in one guest; gives its results, one a line.
fn measure(todo: &[String]) -> Result<Vec<String>> {
    let image = Image::ready()?;
    let programs = [("alua-cli", "alua"), ("alua-lab", "alua-lab-failover")];
    let share = Share::with(&programs, "alua-lab/ublk,alua-cli/ublk")?;
    share.prepare(RUN, todo)?;
    let boot = boot::boot_counting(&image, &share.folder)?;
    let results = fs::read_to_string(share.folder.join("results"))?;
    if results.is_empty() {
        println!("{}", boot.last_lines());
    }
    Ok(results.lines().map(str::to_owned).collect())
}

/// Keeps what was measured, for the page.
fn keep(what: &str, batch: &Batch) -> Result<()> {
    let folder = super::cache()?.join("failover");
    fs::create_dir_all(&folder)?;
    let words: Vec<&str> = what.split(' ').collect();
    let file = folder.join(format!("{}-{}.json", words[1], words[2]));
    Ok(fs::write(file, serde_json::to_string(batch)?)?)
}

/// What the last runs left.
fn kept() -> Result<Vec<Batch>> {
    let folder = super::cache()?.join("failover");
    let mut batches = Vec::new();
    for contender in Contender::ALL {
        for event in Event::ALL {
            let file = folder.join(format!("{}-{}.json", contender.name(), event.name()));
            if let Ok(text) = fs::read_to_string(&file) {
                batches
                    .push(serde_json::from_str(&text).with_context(|| file.display().to_string())?);
            }
        }
    }
    Ok(batches)
}

/// The middle one, and the greatest; of an even number the mean of the two in the middle.
fn median_and_worst(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let lower = *values.get(values.len() - 1 - middle)?;
    Some((f64::midpoint(upper, lower), *values.last()?))
}

fn samples(batches: &[Batch], contender: Contender, event: Event) -> Vec<&Sample> {
    let all = batches.iter().flat_map(|batch| &batch.samples);
    all.filter(|sample| sample.contender == contender && sample.event == event).collect()
}

/// A cell: median and worst, in milliseconds.
fn cell(values: Vec<f64>) -> String {
    let show = |ms: f64| if ms < 10.0 { format!("{ms:.1}") } else { format!("{ms:.0}") };
    match median_and_worst(values) {
        Some((median, worst)) => format!("{} / {}", show(median), show(worst)),
        None => "-".to_owned(),
    }
}

/// How often it was measured: one number, or one for each contender that was.
fn times(counts: &[usize]) -> String {
    if counts.iter().all(|count| Some(count) == counts.first()) {
        return counts.first().map(usize::to_string).unwrap_or_default();
    }
    counts.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// How a value is taken from a sample.
type Of = fn(&Sample) -> Option<f64>;

/// The tables: one for each value, a row for each event.
fn table(batches: &[Batch]) -> String {
    let there = |contender: &Contender| {
        batches.iter().any(|batch| batch.samples.iter().any(|it| it.contender == *contender))
    };
    let contenders: Vec<Contender> = Contender::ALL.into_iter().filter(there).collect();
    let values: [(&str, Of); 3] = [
        ("Longest request", |sample| Some(sample.stall_ms)),
        ("First completion", |sample| Some(sample.first_ms)),
        ("The path is used again", |sample| sample.back_ms),
    ];
    let mut text = String::new();
    for (title, of) in values {
        let _ = write!(text, "## {title}\n\n| event | times |");
        for contender in &contenders {
            let _ = write!(text, " {} |", contender.name());
        }
        text.push_str(" ublk / dm-tuned |\n|---|--:|");
        text.push_str(&"--:|".repeat(contenders.len() + 1));
        text.push('\n');
        for event in Event::ALL {
            let values = |contender| -> Vec<f64> {
                samples(batches, contender, event).into_iter().filter_map(of).collect()
            };
            let counts = contenders.iter().map(|&it| values(it).len());
            let counts: Vec<usize> = counts.filter(|count| *count > 0).collect();
            if counts.is_empty() {
                continue;
            }
            let _ = write!(text, "| {} | {} |", event.name(), times(&counts));
            for &contender in &contenders {
                let _ = write!(text, " {} |", cell(values(contender)));
            }
            let median = |contender| median_and_worst(values(contender)).map(|(it, _)| it);
            let ratio = median(Contender::Ublk).zip(median(Contender::Tuned));
            let ratio = ratio.map_or("-".to_owned(), |(ours, dm)| format!("{:.2}", ours / dm));
            let _ = writeln!(text, " {ratio} |");
        }
        text.push('\n');
    }
    text
}

fn write_page(batches: &[Batch]) -> Result<()> {
    let file = run::root().join(FILE);
    let note = fs::read_to_string(super::folder().join("failover-notes.md"))?;
    let errors: Vec<&String> = batches.iter().filter_map(|batch| batch.error.as_ref()).collect();
    if !errors.is_empty() {
        bail!("the page is not written: a run has failed: {}", errors[0]);
    }
    let text = note.replace("{tables}\n", &table(batches));
    fs::write(&file, text).with_context(|| file.display().to_string())?;
    println!("lab: wrote {FILE}");
    Ok(())
}

/// `cargo xtask lab cost`.
pub(crate) fn cost() -> Result<()> {
    let depths = DEPTHS.map(|depth| depth.to_string()).join(" ");
    let lines = measure(&[format!("cost {depths}")])?;
    let costs: Vec<cost::Cost> = lines
        .iter()
        .map(|line| serde_json::from_str(line).context("the guest's results"))
        .collect::<Result<_>>()?;
    if costs.len() != cost::Device::ALL.len() * DEPTHS.len() {
        bail!("the guest gave {} results: its console is above", costs.len());
    }
    println!(
        "\n| instructions of one 4 KiB read | depth 1 | more than raw | depth 32 | more than raw |"
    );
    println!("|---|--:|--:|--:|--:|");
    let of = |device, depth| {
        costs.iter().find(|it| it.device == device && it.depth == depth).map_or(0.0, |it| it.ns)
    };
    for device in cost::Device::ALL {
        let mut row = format!("| {} |", device.name());
        for depth in DEPTHS {
            let (ns, raw) = (of(device, depth), of(cost::Device::Raw, depth));
            let more =
                if device == cost::Device::Raw { "".into() } else { format!("{:.0}", ns - raw) };
            let _ = write!(row, " {ns:.0} | {more} |");
        }
        println!("{row}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(contender: Contender, stall_ms: f64) -> Sample {
        Sample { contender, event: Event::Swap, first_ms: 1.0, stall_ms, back_ms: None }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median_and_worst(vec![]), None);
        assert_eq!(median_and_worst(vec![3.0]), Some((3.0, 3.0)));
        assert_eq!(median_and_worst(vec![9.0, 1.0, 2.0]), Some((2.0, 9.0)));
        assert_eq!(median_and_worst(vec![4.0, 1.0, 2.0, 9.0]), Some((3.0, 9.0)));
    }

    #[test]
    fn the_table_shows_medians_and_their_ratio() {
        let samples = vec![
            sample(Contender::Tuned, 20.0),
            sample(Contender::Tuned, 40.0),
            sample(Contender::Ublk, 6.0),
        ];
        let text = table(&[Batch { samples, error: None }]);
        assert!(text.contains("| event | times | dm-tuned | ublk | ublk / dm-tuned |"), "{text}");
        assert!(text.contains("| swap | 2, 1 | 30 / 40 | 6.0 / 6.0 | 0.20 |"), "{text}");
        assert!(!text.contains("| hang |"), "{text}");
    }
}
