//! How far a path's adapter is from the processors that serve the device.
//!
//! Requests come from the processors that this process may run on. Where those belong to several
//! NUMA nodes, an adapter counts by the nearest of them: only a server that is bound to one node
//! (`numactl --cpunodebind`, `taskset`, a cpuset) has near paths and far ones.

use std::fs;
use std::path::Path;

use alua_host::hctl::Hctl;

/// What a node's distance to itself is (ACPI, SLIT).
const LOCAL: u8 = 10;

/// The distance of the adapter of the device at `hctl`: 0 for one on a node of ours, for one that
/// has no node (a virtual or a network one), and where the kernel tells nothing; else what the
/// kernel's distance is above that of a node to itself.
pub(super) fn distance(sys: &Path, hctl: Hctl) -> u8 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    distance_for(sys, hctl, &allowed(&status)).unwrap_or(0)
}

/// The processors in `/proc/self/status`.
fn allowed(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.map(list).unwrap_or_default()
}

fn distance_for(sys: &Path, hctl: Hctl, cpus: &[u32]) -> Option<u8> {
    let adapter = node_of(sys, hctl)?;
    let nodes = sys.join("devices/system/node");
    let online = list(&fs::read_to_string(nodes.join("online")).ok()?);
    let column = online.iter().position(|node| *node == adapter)?;
    let of_ours = |node: &&u32| {
        let its = fs::read_to_string(nodes.join(format!("node{node}/cpulist"))).unwrap_or_default();
        list(&its).iter().any(|cpu| cpus.contains(cpu))
    };
    let from = |node: &u32| {
        let row = fs::read_to_string(nodes.join(format!("node{node}/distance"))).ok()?;
        row.split_whitespace().nth(column)?.parse::<u8>().ok()
    };
    online.iter().filter(of_ours).filter_map(from).min().map(|it| it.saturating_sub(LOCAL))
}

/// The node of the adapter: that of the nearest device above the SCSI device that has one.
fn node_of(sys: &Path, hctl: Hctl) -> Option<u32> {
    let device = sys.join("bus/scsi/devices").join(hctl.to_string());
    let device = fs::canonicalize(device).ok()?;
    let told = device.ancestors().find_map(|it| fs::read_to_string(it.join("numa_node")).ok())?;
    // -1: none.
    told.trim().parse().ok()
}

/// A list as the kernel writes it: `0-3,8`.
fn list(text: &str) -> Vec<u32> {
    let mut all = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse()) {
            all.extend(first..=last);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// Nodes 0 and 2 of a machine of which node 1 is not online, each with an adapter and a disk,
    /// and a disk of an adapter without a node.
    fn machine() -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = sys.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("devices/system/node/online", "0,2\n");
        write("devices/system/node/node0/distance", "10 32\n");
        write("devices/system/node/node0/cpulist", "0-3,8-11\n");
        write("devices/system/node/node2/distance", "31 10\n");
        write("devices/system/node/node2/cpulist", "4-7\n");
        for (host, node) in [(0, "0"), (1, "2"), (2, "-1")] {
            let adapter = format!("devices/pci0000:0{host}/0000:0{host}:00.0");
            write(&format!("{adapter}/numa_node"), &format!("{node}\n"));
            let hctl = format!("{host}:0:0:0");
            let device = format!("{adapter}/host{host}/target{host}:0:0/{hctl}");
            write(&format!("{device}/state"), "running\n");
            let bus = sys.path().join("bus/scsi/devices");
            fs::create_dir_all(&bus).unwrap();
            symlink(PathBuf::from("../../..").join(device), bus.join(hctl)).unwrap();
        }
        sys
    }

    fn hctl(host: u32) -> Hctl {
        format!("{host}:0:0:0").parse().unwrap()
    }

    #[test]
    fn an_adapter_on_another_node_is_as_far_as_the_kernel_says() {
        let sys = machine();
        let from = |cpus: &[u32], host| distance_for(sys.path(), hctl(host), cpus);
        assert_eq!((from(&[1], 0), from(&[1], 1)), (Some(0), Some(22)));
        assert_eq!((from(&[4, 5], 0), from(&[4, 5], 1)), (Some(21), Some(0)));
        // A server that may run everywhere has no far path.
        assert_eq!((from(&[3, 4], 0), from(&[3, 4], 1)), (Some(0), Some(0)));
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_near() {
        let sys = machine();
        assert_eq!(distance_for(sys.path(), hctl(2), &[1]), None);
        assert_eq!(distance_for(sys.path(), hctl(7), &[1]), None);
        assert_eq!(distance(sys.path(), hctl(2)), 0);
        assert_eq!(distance(Path::new("/nonexistent"), hctl(0)), 0);
    }

    #[test]
    fn the_processors_of_a_process_are_read() {
        let status = "Name:\tx\nCpus_allowed:\tf0f\nCpus_allowed_list:\t0-3,8,10-11\n";
        assert_eq!(allowed(status), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(allowed(""), [0_u32; 0]);
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert!(!allowed(&own).is_empty());
    }
}
