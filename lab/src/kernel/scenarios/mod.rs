//! The scenarios.

mod access;
mod activation;
mod churn;
mod daemon;
mod many;
mod report;
mod transition;

use anyhow::Result;

use super::Run;
use super::model::Model;

/// One scenario.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in one line.
    pub summary: &'static str,
    /// Too long for each run: only by its name.
    pub long: bool,
    pub(crate) run: fn(&mut Run) -> Result<()>,
}

const fn quick(
    name: &'static str,
    summary: &'static str,
    run: fn(&mut Run) -> Result<()>,
) -> Scenario {
    Scenario { name, summary, long: false, run }
}

const fn long(
    name: &'static str,
    summary: &'static str,
    run: fn(&mut Run) -> Result<()>,
) -> Scenario {
    Scenario { name, summary, long: true, run }
}

/// All of them, in the order in which they run.
pub static ALL: &[Scenario] = &[
    quick("attach", "paths are found and their states read", access::attach),
    quick("each-state", "the target sets each state", access::each_state),
    quick("sense-rows", "each sense code of the table, once", access::sense_rows),
    quick("silent-standby", "a path says standby, the target told nobody", access::silent_standby),
    quick("sense-transition", "a sense code alone begins a transition", access::sense_transition),
    quick("nameless", "page 83h names no logical unit", access::nameless),
    quick("late-group", "page 83h names the group later", access::late_group),
    quick("rescan-in-flux", "page 83h loses the group for a while", access::rescan_in_flux),
    quick("swapped", "another logical unit comes behind a path", access::swapped),
    quick("refused-header", "the extended header is refused", report::refused_header),
    quick("lying-reports", "reports that are short, grow, or are garbage", report::lying),
    quick("absent-group", "reports do not list the path's group", report::absent_group),
    quick("short-transition", "a switch of one second under dm", transition::short),
    quick("mute-transition", "reports are refused in transition", transition::mute),
    quick("endless-transition", "a transition without an end", transition::endless),
    quick("stale-deadline", "a failed report long before a transition", transition::stale_deadline),
    long("long-transition", "a switch of thirty seconds under dm", transition::long),
    quick("activation", "dm activates a standby group", activation::activation),
    quick("activation-storm", "every path is asked at once, again and again", activation::storm),
    quick("activation-implicit", "activation of an implicit-only target", activation::implicit),
    quick(
        "activation-in-transition",
        "activation while the group transitions",
        activation::in_transition,
    ),
    quick("optimize-stpg", "a live group is left to the target", activation::optimize),
    quick("ping-pong", "two groups are pulled back and forth", activation::ping_pong),
    quick("path-churn", "paths come and go under load", churn::paths),
    quick("many-units", "a failover of 32 units with 4 paths each, LIO", many::some),
    long("many-units-256", "the same with 256 units", many::all),
    quick("random-events", "ext4 and fio over multipathd, random events, 40 s", daemon::short),
    long("random-events-hour", "the same for an hour", daemon::hour),
    quick("reload", "the module is loaded and unloaded", churn::reload),
    long("reload-1000", "the same a thousand times", churn::reload_1000),
];

/// Two controllers with a group of two ports each, and one unit that A owns; more of the file can be
/// added behind `alua`, which are lines of its `[alua]`.
fn two_controllers(alua: &str, more: &str) -> Result<Model> {
    Model::set_up(&format!(
        "[array]\nname = \"lab\"\n[alua]\n{alua}\n\
         [[controller]]\nname = \"A\"\n[[controller]]\nname = \"B\"\n\
         [[group]]\nid = 1\ncontroller = \"A\"\n[[group]]\nid = 2\ncontroller = \"B\"\n\
         [[port]]\nid = 1\ngroup = 1\n[[port]]\nid = 2\ngroup = 1\n\
         [[port]]\nid = 3\ngroup = 2\n[[port]]\nid = 4\ngroup = 2\n\
         [[unit]]\nname = \"disk\"\nlun = 0\nblocks = 65536\nowner = [\"A\"]\n{more}"
    ))
}
