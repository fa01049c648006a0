//! `cargo xtask`: every developer task, one module per subcommand.

mod bench;
mod fuzz;
mod lab;
mod man;
mod panic_check;
mod run;
mod sim;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer tasks of the ALUA driver.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Everything that must pass before a change lands
    Test(test::Args),
    /// Prove that no panic is reachable in alua-core
    PanicCheck,
    /// Scenarios on a real kernel: a guest in QEMU with ALUA disks
    #[command(subcommand)]
    Lab(lab::Lab),
    /// Run seeds of the multipath engine's simulation
    Sim(sim::Args),
    /// Build the kernel's device handler for the kernels that are supported
    Kmod(lab::kernel::BuildArgs),
    /// Run a fuzz target, or each of them in turn
    Fuzz(fuzz::Args),
    /// Write the manual pages and shell completions of the command
    Man(man::Args),
    /// Run the benchmarks
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Test(args) => test::run(&args),
        Task::PanicCheck => panic_check::run(),
        Task::Lab(args) => lab::run(&args),
        Task::Sim(args) => sim::run(&args),
        Task::Kmod(args) => lab::kernel::build(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Man(args) => man::run(&args),
        Task::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
