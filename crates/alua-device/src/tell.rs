//! What the engine tells, in words for a person and a log.

use std::fmt::Write as _;

use alua_core::cause::Cause;
use alua_core::gate::Refusal;
use alua_core::select::{Health, Out, Standing};
use alua_multipath::{Event, PathId};

/// One line for an event. `label` names a path that is still there.
pub(crate) fn text(event: &Event, label: impl Fn(PathId) -> Option<String>) -> String {
    let name = |path: PathId| label(path).unwrap_or_else(|| path.to_string());
    match *event {
        Event::Standing { path, from, to, state, .. } => {
            let mut text = format!("{}: {}, was {}", name(path), standing(to), standing(from));
            if let Some(state) = state {
                let _ = write!(text, " ({})", state.name());
            }
            text
        }
        Event::Class { to: None, .. } => "no path takes I/O now".to_owned(),
        Event::Class { from: None, to: Some(_) } => "I/O flows".to_owned(),
        Event::Class { from: Some(from), to: Some(to) } if to < from => {
            "I/O goes to paths of a better class now".to_owned()
        }
        Event::Class { .. } => "I/O goes to paths of a worse class now".to_owned(),
        Event::PathFailed { path } => format!("{}: its transport failed", name(path)),
        Event::PathAnswers { path } => format!("{}: answers again", name(path)),
        Event::PathUnsteady { path, strikes, .. } => {
            format!(
                "{}: answers and fails I/O ({strikes} times): the last choice for a while",
                name(path)
            )
        }
        Event::FenceStarted { path, writes } => format!(
            "{}: {writes} writes of unknown outcome: fenced before they are sent again",
            name(path)
        ),
        Event::FenceEnded { path, by, writes } => {
            format!("{}: {writes} writes are over, by: {by}", name(path))
        }
        Event::NoPath => "no path is live and nothing ends by itself: requests wait".to_owned(),
        Event::GivesUp => "no path came back in time: requests fail".to_owned(),
        Event::IdentityChanged { path } => {
            format!("{}: another logical unit answers: not used any more", name(path))
        }
        Event::OtherSize { path, blocks } => {
            format!("{}: tells another size, {blocks} blocks: not used", name(path))
        }
        Event::Resized { blocks } => {
            format!("every path tells a new size, {blocks} blocks: start again to use it")
        }
        Event::ActivationStarted { group } => {
            format!("asking the array to make group {group} optimized")
        }
        Event::ActivationEnded { group, result } => match result {
            Ok(_) => format!("group {group}: activation done"),
            Err(error) => format!("group {group}: activation failed: {error}"),
        },
        Event::Stopped => "stopped: every request is complete".to_owned(),
    }
}

/// What a path is good for, in a word or two.
#[must_use]
pub const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Live(class) if class.is_optimized() => "live, optimized",
        Standing::Live(_) => "live, not optimized",
        Standing::Waits(_) => "waits",
        Standing::Out(Out::Refused(refusal)) => match refusal {
            Refusal::State(_) => "out by its access state",
            Refusal::IdentityChanged | Refusal::IdentityUnreadable => "out by its identity",
            Refusal::StateUnreadable => "out, its access state cannot be read",
            Refusal::NoPath => "gone",
        },
        Standing::Out(Out::Health(health)) => match health {
            Health::Failed => "out, its transport failed",
            Health::OtherSize => "out by its size",
            Health::ByHand => "out by hand",
            Health::Good => "out",
        },
    }
}

/// What an access state rests on. `label` names a path by the driver core's word for it.
pub(crate) fn cause(
    cause: &Cause,
    label: impl Fn(alua_core::unit::PathId) -> Option<String>,
) -> String {
    let name = |path| label(path).unwrap_or_else(|| "a path that is gone".to_owned());
    match cause {
        Cause::Report { path, .. } => format!("reported through {}", name(*path)),
        Cause::Sense { path, sense, .. } => format!("{} answered sense {sense}", name(*path)),
        Cause::AbsentFromReport { path, .. } => {
            format!("the report read through {} does not list the group", name(*path))
        }
        Cause::Ready { path, .. } => {
            format!("{} is ready again, and no report can be read", name(*path))
        }
        other => other.to_string(),
    }
}
