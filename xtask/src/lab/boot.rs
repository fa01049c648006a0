//! Booting the guest, watching its console, and cutting it off when it hangs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::image::Image;
use super::recipe::install;
use crate::run;

/// What lines of the guest that a person reads begin with.
const PREFIX: &str = "lab: ";
/// How long the guest may say nothing to a person before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(300);
/// The acceleration that counts instructions.
const COUNTING: &str = "tcg";
/// How long a guest may take to boot when it is tried whether KVM works.
const TRY_KVM: Duration = Duration::from_secs(20);

/// How a boot ended.
#[derive(Debug)]
pub(super) struct Boot {
    /// All that the guest wrote.
    pub(super) console: String,
    /// It was cut off.
    pub(super) hung: bool,
}

impl Boot {
    /// The last lines of the console, for a message.
    pub(super) fn last_lines(&self) -> String {
        let lines: Vec<&str> = self.console.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// How a guest is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// How long it may say nothing to a person before it counts as hung.
    pub(super) patience: Duration,
    /// More parameters of its kernel.
    pub(super) parameters: &'static str,
}

impl Manner {
    pub(super) const USUAL: Self = Self { patience: PATIENCE, parameters: "" };

    /// With so many times the patience.
    pub(super) fn slower(self, times: u32) -> Self {
        Self { patience: self.patience * times, ..self }
    }
}

/// Another kernel for the guest than the image's own.
#[derive(Clone, Debug)]
pub(super) struct OtherKernel {
    /// The kernel.
    pub(super) kernel: PathBuf,
    /// The initramfs that goes with it.
    pub(super) initramfs: PathBuf,
    /// A disk with its modules, the guest's second.
    pub(super) modules: PathBuf,
    /// More of QEMU's arguments, such as an accelerator.
    pub(super) arguments: Vec<String>,
}

/// Boots the guest with `share` as its `/host`, until it powers off. Needs `share/run`.
pub(super) fn boot(image: &Image, share: &Path) -> Result<Boot> {
    boot_kernel(image, share, None, Manner::USUAL)
}

/// The same with another kernel, and in a manner of its own.
pub(super) fn boot_kernel(
    image: &Image,
    share: &Path,
    other: Option<&OtherKernel>,
    manner: Manner,
) -> Result<Boot> {
    let acceleration = acceleration(image)?;
    let mut qemu = qemu(image, share, &acceleration, other, manner.parameters)?;
    qemu.args(["-serial", "stdio"]).stdin(Stdio::null());
    watch(&mut qemu, manner.patience, true)
}

/// The same with one processor, and a clock that counts instructions, one a nanosecond: what the
/// guest measures does not depend on what else this machine does. A guest that waits goes on at
/// once at the time it waits for.
pub(super) fn boot_counting(image: &Image, share: &Path) -> Result<Boot> {
    let mut qemu = qemu(image, share, COUNTING, None, "")?;
    qemu.args(["-serial", "stdio"]).stdin(Stdio::null());
    watch(&mut qemu, PATIENCE * 2, true)
}

/// Boots the guest with the terminal as its console.
pub(super) fn boot_on_terminal(image: &Image, share: &Path) -> Result<()> {
    let acceleration = acceleration(image)?;
    run::run(qemu(image, share, &acceleration, None, "")?.args(["-serial", "mon:stdio"]))
}

/// QEMU out of the image's tree, with the tree's own loader and libraries, so that nothing of the
/// host's distribution matters.
fn qemu(
    image: &Image,
    share: &Path,
    acceleration: &str,
    other: Option<&OtherKernel>,
    parameters: &str,
) -> Result<Command> {
    let tree = image.tree();
    let libraries = tree.join("usr/lib/x86_64-linux-gnu");
    let mut qemu = Command::new(tree.join("lib64/ld-linux-x86-64.so.2"));
    qemu.env("QEMU_MODULE_DIR", libraries.join("qemu"));
    qemu.arg("--library-path").arg(&libraries).arg(tree.join("usr/bin/qemu-system-x86_64"));
    for folder in ["usr/share/qemu", "usr/share/seabios"] {
        qemu.arg("-L").arg(tree.join(folder));
    }
    let cpu = if acceleration == "kvm" { "host" } else { "max" };
    match other.filter(|other| !other.arguments.is_empty()) {
        Some(other) => qemu.args(&other.arguments),
        None if acceleration == COUNTING => {
            qemu.args(["-accel", "tcg", "-smp", "1", "-icount", "shift=0,sleep=off"])
        }
        None => qemu.args(["-accel", acceleration, "-smp", "2"]),
    };
    qemu.args(["-cpu", cpu, "-m", "2048", "-nodefaults", "-display", "none", "-no-reboot"]);
    let (kernel, initramfs) = match other {
        Some(other) => (other.kernel.clone(), other.initramfs.clone()),
        None => (image.kernel()?, image.initramfs()),
    };
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    let disks = [Some(image.disk()), other.map(|other| other.modules.clone())];
    for disk in disks.iter().flatten() {
        qemu.arg("-drive").arg(format!("file={},if=virtio,format=raw,snapshot=on", disk.display()));
    }
    let local = format!("local,path={},mount_tag=host,security_model=none", share.display());
    qemu.arg("-virtfs").arg(local);
    let usual = "console=ttyS0 loglevel=4 panic=-1 oops=panic";
    qemu.arg("-append").arg(format!("{usual} {parameters}"));
    Ok(qemu)
}

/// `kvm` where a guest boots with it, else `tcg`. A KVM device that is there and does not work is
/// common inside virtual machines, so it is tried, once for each boot of the host.
fn acceleration(image: &Image) -> Result<String> {
    const TCG: &str = "tcg,thread=multi";
    // Of two guests that start at once the second one knows what the first one found out.
    static TRIAL: Mutex<()> = Mutex::new(());
    let _one = TRIAL.lock().unwrap_or_else(PoisonError::into_inner);
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(TCG.to_owned());
    }
    let host = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if let Ok(known) = fs::read_to_string(image.acceleration())
        && let Some((of, kind)) = known.split_once(' ')
        && of == host.trim()
    {
        return Ok(kind.to_owned());
    }
    let share = super::cache()?.join(format!("try-{}", std::process::id()));
    fs::create_dir_all(&share)?;
    fs::write(share.join("script"), "#!/bin/sh\nexit 0\n")?;
    install(&share.join("script"), &share.join("run"))?;
    let mut trial = qemu(image, &share, "kvm", None, "")?;
    trial.args(["-serial", "stdio"]).stdin(Stdio::null()).stderr(Stdio::null());
    let boot = watch(&mut trial, TRY_KVM, false)?;
    let works = !boot.hung && share.join("status").exists();
    fs::remove_dir_all(&share)?;
    let kind = if works { "kvm" } else { TCG };
    println!("lab: KVM {}", if works { "works here" } else { "does not work here: using TCG" });
    // A cache that cannot be written costs the trial again, no more.
    let _ = fs::write(image.acceleration(), format!("{} {kind}", host.trim()));
    Ok(kind.to_owned())
}

/// Runs a guest to its end, or until it has said nothing to a person for `patience`.
fn watch(qemu: &mut Command, patience: Duration, show: bool) -> Result<Boot> {
    let mut child = qemu.stdout(Stdio::piped()).spawn().context("cannot start QEMU")?;
    let console = child.stdout.take().context("QEMU has no console")?;
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let (mut text, mut hung, mut since) = (String::new(), false, Instant::now());
    loop {
        match lines.recv_timeout(Duration::from_millis(500)) {
            Ok(line) => {
                if line.starts_with(PREFIX) {
                    since = Instant::now();
                    if show {
                        println!("{line}");
                    }
                }
                text.push_str(&line);
                text.push('\n');
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        if since.elapsed() > patience {
            hung = true;
            kill(&mut child);
            break;
        }
    }
    let status = child.wait()?;
    // The reader ends with QEMU; what it read is what counts.
    let _ = reader.join();
    if !status.success() && !hung {
        text.push_str(&format!("QEMU ended with {status}\n"));
    }
    Ok(Boot { console: text, hung })
}

fn kill(child: &mut Child) {
    // It may have ended just now.
    let _ = child.kill();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::null());
        shell
    }

    #[test]
    fn a_guest_that_says_nothing_any_more_is_cut_off_and_its_console_is_kept() {
        let mut guest = shell("echo booting; echo 'lab: one ...'; exec sleep 60");
        let boot = watch(&mut guest, Duration::from_millis(700), false).unwrap();
        assert!(boot.hung);
        assert_eq!(boot.last_lines(), "booting\nlab: one ...");
    }

    #[test]
    fn a_guest_that_ends_by_itself_is_not_hung() {
        let boot = watch(&mut shell("echo bye; exit 3"), Duration::from_secs(30), false).unwrap();
        assert!(!boot.hung);
        assert_eq!(boot.console, "bye\nQEMU ended with exit status: 3\n");
    }
}
