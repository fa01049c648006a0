//! The scenarios.

mod access;
mod activation;
mod churn;
mod cost;
mod daemon;
mod garbage;
mod hanging;
mod late;
mod lio;
mod many;
mod module;
mod report;
mod rows;
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
    /// When it runs.
    pub when: When,
    pub(crate) run: Body,
}

/// When a scenario runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// In every test.
    Always,
    /// Only when it is asked for: it is long.
    Asked,
}

type Body = fn(&mut Run) -> Result<()>;

const fn always(name: &'static str, summary: &'static str, run: Body) -> Scenario {
    Scenario { name, summary, when: When::Always, run }
}

const fn asked(name: &'static str, summary: &'static str, run: Body) -> Scenario {
    Scenario { name, summary, when: When::Asked, run }
}

/// All of them, in the order in which they run.
pub static ALL: &[Scenario] = &[
    always("attach", "paths are found and their states read", access::attach),
    always("each-state", "the target sets each state", access::each_state),
    always("each-state-lio", "the kernel's own target sets each state", lio::each_state),
    always("sense-rows", "each sense code of the table, once", access::sense_rows),
    always("senses-without-group", "sense codes where no group is known", rows::without_group),
    always("retries-used-up", "a path says transitioning too often", rows::used_up),
    always("own-commands", "the handler's own commands meet sense codes", rows::own_commands),
    always("silent-standby", "a path says standby, the target told nobody", access::silent_standby),
    always("sense-transition", "a sense code alone begins a transition", access::sense_transition),
    always("nameless", "page 83h names no logical unit", access::nameless),
    always("late-group", "page 83h names the group later", access::late_group),
    always("rescan-in-flux", "page 83h loses the group for a while", access::rescan_in_flux),
    always("regroup", "page 83h names another group", churn::regroup),
    always("held-in-queue", "I/O is held in a queue that is needed", access::held_in_queue),
    always("swapped", "another logical unit comes behind a path", access::swapped),
    always(
        "swapped-alone",
        "the only path of a unit goes back and forth between two",
        access::swapped_alone,
    ),
    always("refused-header", "the extended header is refused", report::refused_header),
    always("lying-reports", "reports that are short, grow, or are garbage", report::lying),
    always("hanging-report", "a report through one path is not answered", hanging::report),
    always("hanging-identity", "page 83h is not answered through one path", hanging::identity),
    always("hanging-identity-dm", "the same under dm, which has another path", hanging::under_dm),
    always("garbled-pages", "page 83h of one path is garbage", garbage::pages),
    always("garbled-sense", "sense data are garbage", garbage::sense),
    always("absent-group", "reports do not list the path's group", report::absent_group),
    always("short-transition", "a switch of one second under dm", transition::short),
    always("mute-transition", "reports are refused in transition", transition::mute),
    always("endless-transition", "a transition without an end", transition::endless),
    always(
        "stale-deadline",
        "a failed report long before a transition",
        transition::stale_deadline,
    ),
    asked("long-transition", "a switch of thirty seconds under dm", transition::long),
    always("activation", "dm activates a standby group", activation::activation),
    always("activation-storm", "every path is asked at once, again and again", activation::storm),
    always(
        "contended-reports",
        "reports tell of a group whose lock is wanted all the time",
        activation::contended,
    ),
    always("activation-implicit", "activation of an implicit-only target", activation::implicit),
    always("activation-explicit", "activation of an explicit-only target", activation::explicit),
    always(
        "activation-in-transition",
        "activation while the group transitions",
        activation::in_transition,
    ),
    always(
        "activation-path-dies",
        "paths go in the middle of an activation",
        activation::path_dies,
    ),
    always(
        "activation-regrouped",
        "a path goes from group to group while it is activated",
        late::regrouped,
    ),
    always("late-answers", "paths go while a command has no answer yet", late::commands),
    always("optimize-stpg", "a live group is left to the target", activation::optimize),
    always("ping-pong", "two groups are pulled back and forth", activation::ping_pong),
    always("path-churn", "paths come and go under load", churn::paths),
    always("many-units", "a failover of 32 units with 4 paths each, LIO", many::some),
    asked("many-units-256", "the same with 256 units", many::all),
    always("reload-busy", "the module comes to disks under I/O", churn::reload_busy),
    always("parameters", "the parameters of the module", module::parameters),
    always("beside-the-other", "both handlers are loaded", module::beside_the_other),
    always("unload-activations", "the module goes right after activations", late::unload),
    always("reload", "the module is loaded and unloaded", churn::reload),
    asked("leaks", "kmemleak finds nothing of the handler's, on the debug kernel", churn::leaks),
    // After what lockdep has to look on at: here it may see a circle of others, and stop.
    always("random-events", "ext4 and fio over multipathd, random events, 40 s", daemon::short),
    asked("random-events-hour", "the same for an hour", daemon::hour),
    asked("cost", "memory, and instructions where the clock counts them", cost::cost),
    asked("reload-1000", "the same a thousand times", churn::reload_1000),
    asked("reload-busy-1000", "the same a thousand times under I/O", churn::reload_busy_1000),
];

/// Two controllers with a group of two ports each, and one unit that A owns; more of the file can be
/// added behind `alua`, which are lines of its `[alua]`.
fn two_controllers(alua: &str, more: &str) -> Result<Model> {
    two_controllers_of("", alua, more)
}

/// The same with lines of its `[array]`.
fn two_controllers_of(array: &str, alua: &str, more: &str) -> Result<Model> {
    Model::set_up(&format!(
        "[array]\nname = \"lab\"\n{array}\n[alua]\n{alua}\n\
         [[controller]]\nname = \"A\"\n[[controller]]\nname = \"B\"\n\
         [[group]]\nid = 1\ncontroller = \"A\"\n[[group]]\nid = 2\ncontroller = \"B\"\n\
         [[port]]\nid = 1\ngroup = 1\n[[port]]\nid = 2\ngroup = 1\n\
         [[port]]\nid = 3\ngroup = 2\n[[port]]\nid = 4\ngroup = 2\n\
         [[unit]]\nname = \"disk\"\nlun = 0\nblocks = 65536\nowner = [\"A\"]\n{more}"
    ))
}
