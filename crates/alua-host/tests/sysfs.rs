//! SCSI devices read from fake trees.

use std::fs;
use std::path::Path;

use alua_core::access::AccessState;
use alua_host::hctl::Hctl;
use alua_host::sysfs::{DeviceState, KernelAccessState, NameError, Named, Sysfs, TargetEnd};

mod tree;

use tree::Tree;

fn hctl(text: &str) -> Hctl {
    text.parse().unwrap()
}

#[test]
fn a_disk_is_read_in_full() {
    let tree = Tree::new();
    let directory = tree.scsi_disk("2:0:0:1", "");
    let block = tree.block(&directory, "sda", "8:0", 2_097_152);
    tree.passthrough(&directory, "sg3");
    tree.map("dm-0", "mpatha", "mpath-36001405abc", &[&block]);
    tree.write(format!("{directory}/access_state"), "active/non-optimized\n");
    tree.write(format!("{directory}/preferred_path"), "1\n");
    tree.write(format!("{directory}/dh_state"), "alua\n");
    tree.write(format!("{directory}/vpd_pg83"), [0, 0x83, 0, 0]);
    tree.write(format!("{directory}/vpd_pg80"), [0, 0x80, 0, 1, b'7']);
    tree.write(format!("{directory}/inquiry"), [0; 36]);
    tree.write("sys/class/scsi_host/host2/proc_name", "tcm_loopback\n");

    let disks = tree.sysfs().disks().unwrap();
    assert_eq!(disks.len(), 1);
    let disk = &disks[0];
    assert_eq!(disk.hctl, hctl("2:0:0:1"));
    assert_eq!(disk.vendor.as_deref(), Some("LIO-ORG"));
    assert_eq!(disk.model.as_deref(), Some("disk0"));
    assert_eq!(disk.revision.as_deref(), Some("4.0"));
    assert_eq!(disk.device_type, Some(0));
    assert_eq!(disk.state, Some(DeviceState::Running));
    assert_eq!(disk.access_state, Some(KernelAccessState::Known(AccessState::ActiveNonOptimized)));
    assert_eq!(disk.preferred_path, Some(true));
    assert_eq!(disk.device_handler.as_deref(), Some("alua"));
    assert_eq!(disk.page_83h.as_deref(), Some(&[0, 0x83, 0, 0][..]));
    assert_eq!(disk.page_80h.as_deref().map(<[u8]>::len), Some(5));
    assert_eq!(disk.inquiry.as_deref().map(<[u8]>::len), Some(36));
    assert_eq!(disk.nexus.host_driver.as_deref(), Some("tcm_loopback"));
    assert_eq!(disk.nexus.target, TargetEnd::Unknown);
    assert_eq!(disk.nodes(), ["sda", "bsg/2:0:0:1", "sg3"]);
    assert_eq!(disk.short_name(), "sda");

    let block = disk.block.as_ref().unwrap();
    assert_eq!(block.number, Some((8, 0)));
    assert_eq!(block.size, Some(1 << 30));
    assert_eq!(block.block_length, Some(512));
    assert_eq!(block.read_only, Some(false));
    assert_eq!(block.holders[0].name, "dm-0");
    assert_eq!(disk.multipath_maps().next().unwrap().map.as_deref(), Some("mpatha"));
}

/// A kernel without the attributes, a device without drivers: nothing is made up.
#[test]
fn f18_what_is_not_there_is_none() {
    let tree = Tree::new();
    let directory = tree.scsi_disk("0:0:0:0", "");
    for name in ["type", "vendor", "model", "rev", "state"] {
        fs::remove_file(tree.path(format!("{directory}/{name}"))).unwrap();
    }
    tree.write(format!("{directory}/dh_state"), "detached\n");
    let disk = tree.sysfs().device(hctl("0:0:0:0")).unwrap();
    assert_eq!((disk.vendor, disk.model, disk.revision), (None, None, None));
    assert_eq!((disk.state, disk.access_state, disk.preferred_path), (None, None, None));
    assert_eq!((disk.device_handler, disk.device_type), (None, None));
    assert_eq!((disk.block, disk.sg, disk.bsg), (None, None, None));
    assert_eq!((disk.inquiry, disk.page_80h, disk.page_83h), (None, None, None));
    assert_eq!(tree.sysfs().device(hctl("0:0:0:1")), None);
}

#[test]
fn f19_every_state_name_of_the_kernel_is_known_and_others_are_kept() {
    let tree = Tree::new();
    let directory = tree.scsi_disk("0:0:0:0", "");
    let read = || tree.sysfs().device(hctl("0:0:0:0")).unwrap();
    for state in AccessState::NAMED {
        tree.write(format!("{directory}/access_state"), format!("{}\n", state.name()));
        assert_eq!(read().access_state, Some(KernelAccessState::Known(state)));
    }
    tree.write(format!("{directory}/access_state"), "sleepy\n");
    assert_eq!(read().access_state, Some(KernelAccessState::Other("sleepy".into())));

    for word in [
        "created",
        "running",
        "cancel",
        "deleted",
        "quiesce",
        "offline",
        "transport-offline",
        "blocked",
        "created-blocked",
    ] {
        let state = DeviceState::from_word(word);
        assert!(!matches!(state, DeviceState::Other(_)), "{word}");
        assert_eq!(state.to_string(), word);
    }
    assert_eq!(DeviceState::from_word("odd"), DeviceState::Other("odd".into()));
    assert!(!DeviceState::Blocked.takes_commands() && !DeviceState::Offline.takes_commands());
}

#[test]
fn transports_name_the_two_ends() {
    let tree = Tree::new();
    tree.scsi_disk("7:0:2:5", "rport-7:0-4");
    tree.write("sys/class/fc_remote_ports/rport-7:0-4/port_name", "0x500a098\n");
    tree.write("sys/class/fc_remote_ports/rport-7:0-4/port_state", "Online\n");
    tree.write("sys/class/fc_host/host7/port_name", "0x2100f8\n");
    tree.scsi_disk("8:0:0:1", "session3");
    tree.write("sys/class/iscsi_session/session3/targetname", "iqn.2003-01.org.x:t\n");
    tree.write("sys/class/iscsi_session/session3/tpgt", "2\n");
    tree.write("sys/class/iscsi_session/session3/state", "LOGGED_IN\n");
    tree.write("sys/class/iscsi_connection/connection3:0/persistent_address", "fd00::7\n");
    tree.write("sys/class/iscsi_connection/connection3:0/persistent_port", "3260\n");
    tree.scsi_disk("9:0:0:0", "port-9:0/end_device-9:0");
    tree.write("sys/class/sas_device/end_device-9:0/sas_address", "0x5000c5\n");

    let target = |text| tree.sysfs().device(hctl(text)).unwrap().nexus.target;
    let TargetEnd::Fc { remote_port, port_name, node_name, port_state, initiator_port_name } =
        target("7:0:2:5")
    else {
        panic!("not FC");
    };
    assert_eq!((remote_port.as_str(), node_name), ("rport-7:0-4", None));
    assert_eq!(port_name.as_deref(), Some("0x500a098"));
    assert_eq!(port_state.as_deref(), Some("Online"));
    assert_eq!(initiator_port_name.as_deref(), Some("0x2100f8"));
    let iscsi = target("8:0:0:1");
    assert_eq!(iscsi.to_string(), "iscsi iqn.2003-01.org.x:t [fd00::7]:3260");
    assert!(matches!(iscsi, TargetEnd::Iscsi { portal_group_tag: Some(2), .. }), "{iscsi:?}");
    assert_eq!(target("9:0:0:0").to_string(), "sas 0x5000c5");
}

#[test]
fn hosts_targets_and_other_device_types_are_no_disks() {
    let tree = Tree::new();
    let tape = tree.scsi_disk("10:0:0:0", "");
    tree.write(format!("{tape}/type"), "1\n");
    let zoned = tree.scsi_disk("2:0:0:0", "");
    tree.write(format!("{zoned}/type"), "20\n");
    tree.scsi_disk("2:0:0:10", "");
    tree.scsi_disk("2:0:0:9", "");
    for other in ["host2", "target2:0:0"] {
        fs::create_dir_all(tree.path(format!("sys/bus/scsi/devices/{other}"))).unwrap();
    }
    let found: Vec<String> =
        tree.sysfs().disks().unwrap().iter().map(|disk| disk.hctl.to_string()).collect();
    assert_eq!(found, ["2:0:0:0", "2:0:0:9", "2:0:0:10"]);
    assert_eq!(tree.sysfs().all().unwrap().len(), 4);
}

#[test]
fn a_kernel_without_scsi_has_no_disks_and_a_missing_sysfs_is_an_error() {
    let tree = Tree::new();
    fs::remove_dir_all(tree.path("sys/bus/scsi")).unwrap();
    assert_eq!(tree.sysfs().addresses().unwrap(), []);
    let nowhere = Sysfs::at(tree.path("nowhere"), tree.path("dev"));
    let text = nowhere.addresses().unwrap_err().to_string();
    assert!(text.contains("nowhere/bus/scsi/devices cannot be read"), "{text}");
}

#[test]
fn what_a_device_sent_cannot_reach_the_terminal_as_control_characters() {
    let tree = Tree::new();
    let directory = tree.scsi_disk("0:0:0:0", "");
    tree.write(format!("{directory}/vendor"), b"\x1b[31mEVIL\xff\n");
    let vendor = tree.sysfs().device(hctl("0:0:0:0")).unwrap().vendor.unwrap();
    assert_eq!(vendor, ".[31mEVIL\u{fffd}");
}

fn named_tree() -> Tree {
    let tree = Tree::new();
    let first = tree.scsi_disk("2:0:0:1", "");
    let sda = tree.block(&first, "sda", "8:0", 8);
    tree.passthrough(&first, "sg3");
    let second = tree.scsi_disk("3:0:0:1", "");
    let sdb = tree.block(&second, "sdb", "8:16", 8);
    let map = tree.map("dm-0", "mpatha", "mpath-36001405", &[&sda, &sdb]);
    tree.map("dm-1", "vg-lv", "LVM-x", &[&map]);
    tree.write(format!("{sda}/sda1/partition"), "1\n");
    tree.link(format!("{sda}/sda1"), "sys/class/block/sda1");
    tree.write("dev/sda1", "");
    tree.link("dev/sdb", "dev/disk/by-id/scsi-36001405");
    fs::create_dir_all(tree.path("sys/devices/virtual/block/loop0")).unwrap();
    tree.link("sys/devices/virtual/block/loop0", "sys/class/block/loop0");
    tree.write("dev/loop0", "");
    tree
}

#[test]
fn every_kind_of_name_finds_its_device() {
    let tree = named_tree();
    let sysfs = tree.sysfs();
    let dev = |name: &str| tree.path(Path::new("dev").join(name)).display().to_string();
    let first = Named::Device(hctl("2:0:0:1"));
    for name in ["2:0:0:1", "sda", "sg3", &dev("sda"), &dev("sg3"), &dev("bsg/2:0:0:1")] {
        assert_eq!(sysfs.resolve(name).unwrap(), first, "{name}");
    }
    let second = Named::Device(hctl("3:0:0:1"));
    assert_eq!(sysfs.resolve(&dev("disk/by-id/scsi-36001405")).unwrap(), second);
    // Known to the kernel, no node under /dev.
    fs::remove_file(tree.path("dev/sdb")).unwrap();
    assert_eq!(sysfs.resolve("sdb").unwrap(), second);
}

#[test]
fn a_map_gives_the_paths_below_it() {
    let tree = named_tree();
    let paths = vec![hctl("2:0:0:1"), hctl("3:0:0:1")];
    for (name, block, map) in [("dm-0", "dm-0", "mpatha"), ("mapper/vg-lv", "dm-1", "vg-lv")] {
        let node = tree.path(Path::new("dev").join(name)).display().to_string();
        let expected =
            Named::Map { block: block.into(), name: Some(map.into()), paths: paths.clone() };
        assert_eq!(tree.sysfs().resolve(&node).unwrap(), expected);
    }
}

#[test]
fn a_name_that_is_no_device_is_told_what_it_is() {
    let tree = named_tree();
    let refuse = |name: &str| tree.sysfs().resolve(name).unwrap_err();
    assert!(matches!(refuse("sdz"), NameError::Missing { .. }));
    assert!(matches!(refuse("9:9:9:9"), NameError::Missing { .. }));
    assert!(matches!(refuse(""), NameError::NotScsi { .. } | NameError::Missing { .. }));
    assert!(matches!(refuse("../../etc"), NameError::Missing { .. }));
    assert!(matches!(refuse("loop0"), NameError::NotScsi { .. }));
    assert_eq!(refuse("sda1").to_string(), "sda1: a partition; name its disk, sda");
}
