//! `alua`: see, explain and change the asymmetric access of SCSI disks.
//!
//! Nothing is decided here: what bytes mean and what may be done is alua-core's, what devices there
//! are is alua-host's. This program asks, and shows.
#![forbid(unsafe_code)]

mod ask;
mod cli;
mod commands;
mod dump;
mod error;
mod exit;
mod picture;
mod render;
mod running;
mod session;
mod target;
mod view;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use cli::{Cli, Color};
use error::Error;
use exit::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return ExitCode::from(if asked_for { Exit::Good } else { Exit::Usage }.code());
        }
    };
    match cli.global.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    log();
    let exit = match commands::run(&cli) {
        Ok(exit) => exit,
        // Who reads our output has seen enough.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Good,
        Err(error) => {
            tell(&error);
            error.exit()
        }
    };
    ExitCode::from(exit.code())
}

/// What the libraries have to say goes to standard error: warnings, or what `ALUA_LOG` asks for.
fn log() {
    let level = std::env::var("ALUA_LOG").ok().and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .with_max_level(level.unwrap_or(tracing_subscriber::filter::LevelFilter::WARN))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
}

fn tell(error: &Error) {
    let bad = render::style::paint(render::style::BAD, "alua:");
    let mut err = anstream::stderr();
    let _ = writeln!(err, "{bad} {error}");
    if let Some(hint) = error.hint() {
        let _ = writeln!(err, "      {hint}");
    }
}
