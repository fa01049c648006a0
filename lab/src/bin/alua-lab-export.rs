//! Serves a file or memory as a block device until SIGTERM or SIGINT: what the lab's scenarios and
//! the benchmarks put under test.
//!
//! It says `ready: PLACE` when it serves, and on the way down one line of what it did. Its exit
//! status is 0 only when everything that was in flight has ended and no defect was seen.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alua_export::block::{
    BlockDevice, Completion, FileDevice, Geometry, MemoryDevice, Operation, Request,
};
use alua_export::nbd::server::{Address, Config, Export, Server};
use alua_export::{Exported, Totals};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long what is in flight may take when the program goes down.
const LIMIT: Duration = Duration::from_secs(30);

/// Serves a block device until it is told to stop
#[derive(Parser, Debug)]
struct Arguments {
    #[command(subcommand)]
    how: How,
}

#[derive(Subcommand, Debug)]
enum How {
    /// By NBD
    Nbd {
        /// On a Unix socket
        #[arg(long, required_unless_present = "tcp")]
        socket: Option<PathBuf>,
        /// On an address
        #[arg(long, conflicts_with = "socket")]
        tcp: Option<SocketAddr>,
        #[command(flatten)]
        what: What,
    },
    /// As /dev/ublkbN
    #[cfg(feature = "ublk")]
    Ublk {
        /// Which number
        #[arg(long, default_value_t = 0)]
        id: u32,
        /// Take over the device of a server that died
        #[arg(long)]
        recover: bool,
        /// Queues, each with a thread
        #[arg(long, default_value_t = 1)]
        queues: u16,
        /// With buffers of the driver, even where data could be copied
        #[arg(long)]
        plain: bool,
        #[command(flatten)]
        what: What,
    },
}

#[derive(Args, Debug)]
struct What {
    /// A file or a block device
    #[arg(long, required_unless_present = "memory")]
    file: Option<PathBuf>,
    /// So many MiB of memory
    #[arg(long, conflicts_with = "file", value_name = "MIB")]
    memory: Option<u64>,
    /// The logical block of memory, in bytes
    #[arg(long, default_value_t = 512)]
    block: u32,
    /// Take no writes
    #[arg(long)]
    read_only: bool,
    /// Acknowledge every write of that count without doing it, so that a check of the data has
    /// something to find
    #[arg(long, value_name = "COUNT")]
    lose_every: Option<u64>,
}

/// A device that loses writes.
struct Lossy {
    device: Arc<dyn BlockDevice>,
    every: u64,
    writes: AtomicU64,
}

impl BlockDevice for Lossy {
    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn submit(&self, request: Request, completion: Completion) {
        if request.operation == Operation::Write
            && self.writes.fetch_add(1, Ordering::Relaxed) % self.every == self.every - 1
        {
            return completion.complete(Ok(Vec::new()));
        }
        self.device.submit(request, completion);
    }
}

impl What {
    fn open(&self) -> Result<Arc<dyn BlockDevice>> {
        let device = self.open_whole()?;
        Ok(match self.lose_every {
            Some(every) if every > 0 => {
                Arc::new(Lossy { device, every, writes: AtomicU64::new(0) })
            }
            _ => device,
        })
    }

    fn open_whole(&self) -> Result<Arc<dyn BlockDevice>> {
        match (&self.file, self.memory) {
            (Some(file), _) => {
                let device = FileDevice::open(file, self.read_only);
                Ok(Arc::new(device.with_context(|| format!("cannot open {}", file.display()))?))
            }
            (None, Some(size)) => {
                let device = MemoryDevice::new(size << 20, self.block);
                Ok(Arc::new(if self.read_only { device.read_only() } else { device }))
            }
            (None, None) => bail!("nothing to serve"),
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alua-lab-export: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    // Before anything is served, so that no signal is missed.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let exported = arguments.how.serve()?;
    let mut out = std::io::stdout();
    writeln!(out, "ready: {}", exported.place())?;
    out.flush()?;
    signals.forever().next();
    let Totals { requests, failed, reissued, defects } = exported.shut_down(LIMIT)?;
    let did = json!({
        "requests": requests, "failed": failed, "reissued": reissued, "defects": defects,
    });
    println!("{did}");
    ensure!(defects == 0, "a device broke its contract: {did}");
    Ok(())
}

impl How {
    fn serve(&self) -> Result<Box<dyn Exported>> {
        match self {
            Self::Nbd { socket, tcp, what } => {
                let address = match (socket, tcp) {
                    (Some(path), _) => Address::Unix(path.clone()),
                    (None, Some(address)) => Address::Tcp(*address),
                    (None, None) => bail!("nowhere to serve"),
                };
                let export = Export {
                    name: "disk".to_owned(),
                    description: "served by alua-lab-export".to_owned(),
                    device: what.open()?,
                };
                Ok(Box::new(Server::start(&address, vec![export], Config::default())?))
            }
            #[cfg(feature = "ublk")]
            Self::Ublk { id, recover, queues, plain, what } => {
                use alua_export::ublk::{Config, Device};
                if *recover {
                    return Ok(Box::new(Device::recover(*id, what.open()?)?));
                }
                let (id, queues, user_copy) = (Some(*id), *queues, !plain);
                let config = Config { id, queues, user_copy, ..Config::default() };
                Ok(Box::new(Device::add(config, what.open()?)?))
            }
        }
    }
}
