//! What the initiator sent and the kernel said, in order, for people who look for a cause.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::sysfs::write;

const TRACING: &str = "/sys/kernel/tracing";
/// The operation codes of the handler's own commands: TEST UNIT READY, INQUIRY, RTPG and STPG.
const OPCODES: &str = "opcode == 0x00 || opcode == 0x12 || opcode == 0xa3 || opcode == 0xa4";

fn event(name: &str, file: &str, value: &str) -> Result<()> {
    write(&Path::new(TRACING).join("events").join(name).join(file), value)
}

/// Starts anew.
pub(super) fn start() -> Result<()> {
    let tracing = Path::new(TRACING);
    write(&tracing.join("buffer_size_kb"), "4096")?;
    // Opened for writing, the buffer is emptied.
    write(&tracing.join("trace"), "")?;
    event("scsi/scsi_dispatch_cmd_start", "filter", OPCODES)?;
    event("scsi/scsi_dispatch_cmd_start", "enable", "1")?;
    // Every command that did not end well, whatever it is.
    event("scsi/scsi_dispatch_cmd_done", "filter", &format!("({OPCODES}) || result != 0"))?;
    event("scsi/scsi_dispatch_cmd_done", "enable", "1")?;
    event("printk/console", "enable", "1")
}

/// Writes the trace to a file, and stops.
pub(super) fn finish(file: &Path) -> Result<()> {
    for name in ["scsi/scsi_dispatch_cmd_start", "scsi/scsi_dispatch_cmd_done", "printk/console"] {
        event(name, "enable", "0")?;
    }
    let text = fs::read(Path::new(TRACING).join("trace"))?;
    fs::write(file, text).with_context(|| file.display().to_string())
}
