//! A sysfs and a `/dev` in a temporary directory, laid out as the kernel does.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use alua_host::sysfs::Sysfs;
use tempfile::TempDir;

/// The directory, removed at the end.
pub(crate) struct Tree {
    root: TempDir,
}

impl Tree {
    /// A kernel with SCSI and no device.
    pub(crate) fn new() -> Self {
        let tree = Self { root: tempfile::tempdir().unwrap() };
        for directory in
            ["sys/bus/scsi/devices", "sys/class/block", "sys/class/scsi_generic", "dev"]
        {
            fs::create_dir_all(tree.path(directory)).unwrap();
        }
        tree
    }

    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(below)
    }

    pub(crate) fn sysfs(&self) -> Sysfs {
        Sysfs::at(self.path("sys"), self.path("dev"))
    }

    pub(crate) fn write(&self, below: impl AsRef<Path>, contents: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    pub(crate) fn link(&self, target: impl AsRef<Path>, at: impl AsRef<Path>) {
        let at = self.path(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(self.path(target), at).unwrap();
    }

    /// A running SCSI disk without a block device; `above` stands between host and target
    /// directory: `"rport-7:0-2"`, `"session3"`, or nothing. Returns its directory.
    pub(crate) fn scsi_disk(&self, hctl: &str, above: &str) -> String {
        let mut parts = hctl.split(':');
        let host = parts.next().unwrap();
        let (channel, target) = (parts.next().unwrap(), parts.next().unwrap());
        let above = if above.is_empty() { String::new() } else { format!("{above}/") };
        let directory = format!(
            "sys/devices/pci0000:00/host{host}/{above}target{host}:{channel}:{target}/{hctl}"
        );
        for (name, value) in [
            ("type", "0\n"),
            ("vendor", "LIO-ORG \n"),
            ("model", "disk0           \n"),
            ("rev", "4.0 \n"),
            ("state", "running\n"),
        ] {
            self.write(format!("{directory}/{name}"), value);
        }
        self.link(&directory, format!("sys/bus/scsi/devices/{hctl}"));
        directory
    }

    /// A block device of `sectors` times 512 bytes on the SCSI disk in `directory`.
    pub(crate) fn block(&self, directory: &str, name: &str, number: &str, sectors: u64) -> String {
        let block = format!("{directory}/block/{name}");
        self.write(format!("{block}/dev"), format!("{number}\n"));
        self.write(format!("{block}/size"), format!("{sectors}\n"));
        self.write(format!("{block}/ro"), "0\n");
        self.write(format!("{block}/queue/logical_block_size"), "512\n");
        fs::create_dir_all(self.path(format!("{block}/holders"))).unwrap();
        self.link(directory, format!("{block}/device"));
        self.link(&block, format!("sys/class/block/{name}"));
        self.write(format!("dev/{name}"), "");
        block
    }

    /// The sg and bsg nodes of the SCSI disk in `directory`.
    pub(crate) fn passthrough(&self, directory: &str, sg: &str) {
        let hctl = directory.rsplit('/').next().unwrap();
        fs::create_dir_all(self.path(format!("{directory}/bsg/{hctl}"))).unwrap();
        let generic = format!("{directory}/scsi_generic/{sg}");
        fs::create_dir_all(self.path(&generic)).unwrap();
        self.link(directory, format!("{generic}/device"));
        self.link(&generic, format!("sys/class/scsi_generic/{sg}"));
        self.write(format!("dev/{sg}"), "");
        self.write(format!("dev/bsg/{hctl}"), "");
    }

    /// A device-mapper device on the block devices in `below` (directories).
    pub(crate) fn map(&self, block: &str, name: &str, uuid: &str, below: &[&str]) -> String {
        let directory = format!("sys/devices/virtual/block/{block}");
        self.write(format!("{directory}/dm/name"), format!("{name}\n"));
        self.write(format!("{directory}/dm/uuid"), format!("{uuid}\n"));
        fs::create_dir_all(self.path(format!("{directory}/slaves"))).unwrap();
        for lower in below {
            let last = lower.rsplit('/').next().unwrap();
            self.link(lower, format!("{directory}/slaves/{last}"));
            self.link(&directory, format!("{lower}/holders/{block}"));
        }
        self.link(&directory, format!("sys/class/block/{block}"));
        self.write(format!("dev/{block}"), "");
        self.link(format!("dev/{block}"), format!("dev/mapper/{name}"));
        directory
    }
}
