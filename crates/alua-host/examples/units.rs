//! Lists the logical units of this machine with their paths and access states:
//! `cargo run -p alua-host --example units` (as root).

use std::sync::Arc;

use alua_core::unit::Config;
use alua_host::discovery::{NodeOpener, Options, discover};
use alua_host::driver::{Limits, MonotonicClock, connect};
use alua_host::sysfs::Sysfs;

fn main() -> Result<(), alua_host::sysfs::SysfsError> {
    let sysfs = Sysfs::default();
    let opener = Arc::new(NodeOpener::new(sysfs.clone()));
    let inventory =
        discover(sysfs.disks()?, Arc::<NodeOpener>::clone(&opener), &Options::default());
    for unit in &inventory.units {
        match &unit.name {
            Some(name) => println!("{name}"),
            None => println!("(no name)"),
        }
        if let Err(off) = unit.alua() {
            println!("  no ALUA: {off}");
        }
        for finding in &unit.findings {
            println!("  ! {finding}");
        }
        let mut connected = connect(unit, &*opener, Config::default(), MonotonicClock::new());
        let ended = connected.driver.run(Limits { total_ms: 10_000, pause_ms: 1_000 });
        for (path, id) in unit.paths.iter().zip(&connected.paths) {
            let known = id.map(|id| connected.driver.unit().access(id));
            let state = known.and_then(|known| known.state);
            println!(
                "  {:<10} {:<6} group {:<6} {:<22} kernel: {}",
                path.device.hctl,
                path.device.short_name(),
                path.identity.group.map_or("-".to_owned(), |group| group.to_string()),
                state.map_or("unknown".to_owned(), |state| state.to_string()),
                path.device.access_state.as_ref().map_or("-".to_owned(), ToString::to_string),
            );
            for finding in &path.findings {
                println!("    ! {finding}");
            }
        }
        for record in connected.driver.take_records().0 {
            println!("  > {record}");
        }
        match connected.driver.unit().refresh_error() {
            Some(error) => println!("  no report: {error} ({ended:?})"),
            None => println!("  {ended:?}"),
        }
    }
    for problem in &inventory.problems {
        println!("! {problem}");
    }
    println!("{} units, {} commands for discovery", inventory.units.len(), inventory.commands);
    Ok(())
}
