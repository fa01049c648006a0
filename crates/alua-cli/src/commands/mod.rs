//! The subcommands, one module each.

use std::io::Write as _;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::exit::Exit;

mod activate;
mod array;
mod change;
mod check;
mod decode;
mod demo;
mod explain;
mod generate;
mod inquiry;
mod list;
mod rtpg;
mod rules;
mod show;
mod status;
mod stpg;
mod target;
mod tur;
mod up;
mod watch;

/// Runs what was asked for.
pub(crate) fn run(cli: &Cli) -> Result<Exit, Error> {
    let global = &cli.global;
    match &cli.command {
        Command::List(args) => match args.watch {
            Some(seconds) => watch::run(global, args, seconds),
            None => list::run(global, args),
        },
        Command::Show(args) => show::run(global, args),
        Command::Explain(args) => explain::run(global, args),
        Command::Rtpg(args) => rtpg::run(global, args),
        Command::Stpg(args) => stpg::run(global, args),
        Command::Tur(args) => tur::run(global, args),
        Command::Inquiry(args) => inquiry::run(global, args),
        Command::Activate(args) => activate::run(global, args),
        Command::Up(args) => up::run(global, args),
        Command::Status(args) => status::status(global, args),
        Command::Switch(args) => status::switch(global, args),
        Command::Path { command } => status::path(global, command),
        Command::Check(args) => check::run(global, args),
        Command::Decode(args) => decode::run(global, args),
        Command::Demo { part, timeline } => demo::run(global, *part, timeline.as_deref()),
        Command::Array { command } => array::run(global, command.as_ref()),
        Command::Target { command } => target::run(global, command),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man { out } => generate::man(out.as_deref()),
    }
}

/// Writes text to standard output.
fn print(text: &str) -> Result<(), Error> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes bytes to standard output.
fn write(bytes: &[u8]) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}
