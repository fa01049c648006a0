//! `alua stpg`: SET TARGET PORT GROUPS with one or more groups, checked before and verified after.

use alua_core::access::AccessState;
use alua_core::unit::Target;

use super::change;
use crate::cli::{Global, Stpg};
use crate::error::Error;
use crate::exit::Exit;
use crate::session::Follow;
use crate::target::World;

pub(crate) fn run(global: &Global, args: &Stpg) -> Result<Exit, Error> {
    let targets = targets(args)?;
    let world = World::open(&global.choice())?;
    let session = world.unit(&args.unit)?;
    let how = match (args.dry_run, args.wait) {
        (true, _) => Follow::UntilSent,
        (false, true) => Follow::ToEnd,
        (false, false) => Follow::UntilAccepted,
    };
    change::follow(global, &world, session, &targets, how, |session| {
        let (unit, now) = session.driver.unit_mut();
        unit.set_states(&targets, args.force, now)
    })
}

fn targets(args: &Stpg) -> Result<Vec<Target>, Error> {
    let mut targets = Vec::new();
    for text in &args.groups {
        let target = parse(text, "--group")?;
        if target.state == AccessState::Offline {
            return Err(Error::Usage(format!(
                "--group {text}: offline is asked for a port, not a group: --port ID=offline with \
                 the relative target port id (`alua show` lists the ports)"
            )));
        }
        targets.push(target);
    }
    for text in &args.ports {
        let target = parse(text, "--port")?;
        if target.state != AccessState::Offline {
            return Err(Error::Usage(format!(
                "--port {text}: offline is the only state of a port; the others are asked for a \
                 group: --group ID=STATE"
            )));
        }
        targets.push(target);
    }
    Ok(targets)
}

/// `2=active/optimized`. The identifier is decimal, or hex after `0x`.
fn parse(text: &str, option: &str) -> Result<Target, Error> {
    let wrong = |why: &str| Error::Usage(format!("{option} {text}: {why}"));
    let (id, state) =
        text.split_once('=').ok_or_else(|| wrong("must be ID=STATE, as in 2=active/optimized"))?;
    let id = match id.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16),
        None => id.parse(),
    }
    .map_err(|_| wrong("the identifier must be a number from 0 to 65535"))?;
    let state = state_of(state).ok_or_else(|| {
        wrong(
            "the state must be one of active/optimized (ao), active/non-optimized (an), \
             standby (s), unavailable (u) or, with --port, offline (o)",
        )
    })?;
    Ok(Target { state, id })
}

/// The state with that name, in full or as sg_stpg's users shorten it.
fn state_of(name: &str) -> Option<AccessState> {
    let name = name.to_ascii_lowercase();
    let short = match name.as_str() {
        "ao" | "optimized" => AccessState::ActiveOptimized,
        "an" | "non-optimized" => AccessState::ActiveNonOptimized,
        "s" => AccessState::Standby,
        "u" => AccessState::Unavailable,
        "o" => AccessState::Offline,
        _ => return AccessState::from_name(&name).filter(|state| state.is_settable()),
    };
    Some(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_in_full_and_in_short() {
        for text in ["2=active/optimized", "0x2=AO", "2=optimized"] {
            let target = parse(text, "--group").unwrap();
            assert_eq!((target.id, target.state), (2, AccessState::ActiveOptimized), "{text}");
        }
        assert_eq!(parse("65535=s", "--group").unwrap().state, AccessState::Standby);
    }

    #[test]
    fn what_is_no_target_is_refused_with_the_reason() {
        for text in ["2", "x=ao", "65536=ao", "2=fast", "2=transitioning", "=ao", "2="] {
            let error = parse(text, "--group").unwrap_err().to_string();
            assert!(error.starts_with(&format!("--group {text}: ")), "{error}");
        }
    }
}
