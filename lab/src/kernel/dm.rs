//! A dm-multipath map over paths, without the daemon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::handler::tool;
use crate::command;
use crate::sysfs::{need_disk, read};

/// A map that stands.
pub(crate) struct Map {
    name: String,
}

impl Map {
    /// A map with one priority group for each list of paths. `handler` is what the table says of the
    /// hardware handler.
    pub(crate) fn create(name: &str, groups: &[Vec<String>], handler: &str) -> Result<Self> {
        let mut table = String::new();
        let mut sectors = String::new();
        for group in groups {
            table.push_str(&format!(" round-robin 0 {} 1", group.len()));
            for hctl in group {
                let block = Path::new("/sys/class/block").join(need_disk(hctl)?);
                sectors = read(&block.join("size"))?;
                table.push_str(&format!(" {} 1", read(&block.join("dev"))?));
            }
        }
        let table =
            format!("0 {sectors} multipath 1 queue_if_no_path {handler} {} 1{table}", groups.len());
        tool("dmsetup", &["create", name, "--table", &table])?;
        tool("dmsetup", &["mknodes"])?;
        Ok(Self { name: name.to_owned() })
    }

    pub(crate) fn node(&self) -> PathBuf {
        Path::new("/dev/mapper").join(&self.name)
    }

    pub(crate) fn message(&self, message: &str) -> Result<()> {
        tool("dmsetup", &["message", &self.name, "0", message])
    }

    /// What dm says of the map.
    pub(crate) fn status(&self) -> Result<String> {
        let limit = Duration::from_secs(10);
        Ok(command::run("dmsetup", &["status", &self.name], limit)?.stdout.trim().to_owned())
    }

    pub(crate) fn remove(self) -> Result<()> {
        // What still waits for a path ends with an error, so that the map can go.
        let _ = self.message("fail_if_no_path");
        tool("dmsetup", &["remove", "--noudevsync", "--retry", &self.name])
    }
}
