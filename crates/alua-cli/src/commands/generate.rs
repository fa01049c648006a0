//! `alua completions` and `alua man`: made from the definition of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::write;
use crate::cli::{Cli, exit_codes};
use crate::error::Error;
use crate::exit::Exit;

/// The completions of a shell, on standard output.
pub(crate) fn completions(shell: Shell) -> Result<Exit, Error> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "alua", &mut bytes);
    write(&bytes)?;
    Ok(Exit::Good)
}

/// The page of `alua` on standard output, or all pages as files.
pub(crate) fn man(out: Option<&Path>) -> Result<Exit, Error> {
    let Some(directory) = out else {
        write(&page(Cli::command())?)?;
        return Ok(Exit::Good);
    };
    fs::create_dir_all(directory).map_err(|source| file_error(directory, source))?;
    let mut command = Cli::command();
    command.build();
    pages(&command, directory)?;
    Ok(Exit::Good)
}

fn pages(command: &clap::Command, directory: &Path) -> Result<(), Error> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let file = directory.join(format!("{name}.1"));
    fs::write(&file, page(command.clone())?).map_err(|source| file_error(&file, source))?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        pages(sub, directory)?;
    }
    Ok(())
}

fn page(command: clap::Command) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let is_top = command.get_name() == "alua";
    // The exit codes get a section of their own.
    let command = if is_top { command.after_long_help("") } else { command };
    let man = clap_mangen::Man::new(command);
    man.render(&mut bytes)?;
    if is_top {
        let codes = exit_codes();
        let mut section = String::from(".SH \"EXIT STATUS\"\n.nf\n");
        for line in codes.lines() {
            section.push_str(&line.replace('\\', "\\\\").replace('-', "\\-"));
            section.push('\n');
        }
        section.push_str(".fi\n");
        bytes.extend_from_slice(section.as_bytes());
    }
    Ok(bytes)
}

fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.to_path_buf(), source }
}
