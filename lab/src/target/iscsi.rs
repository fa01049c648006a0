//! LIO over iSCSI on the loopback interface: each port is a target with a portal of its own, each
//! path a session of the kernel's initiator. A path can be made to hang as a dead switch makes it:
//! its packets are dropped, and nobody is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::lio::{BASE, folders, make, unless_gone};
use crate::command;
use crate::sysfs::{read, write};

/// How the names of the targets begin; the port follows.
const NAME: &str = "iqn.2026-03.invalid.lab:port";
/// Where open-iscsi keeps its records.
const RECORDS: [&str; 2] = ["/var/lib/iscsi/nodes", "/var/lib/iscsi/send_targets"];

/// The target port group (the portal group of iSCSI) of a port in configfs.
pub(super) fn fabric(port: u16) -> PathBuf {
    Path::new(BASE).join(format!("iscsi/{NAME}{port}/tpgt_1"))
}

fn address(port: u16) -> String {
    format!("127.0.1.{port}")
}

fn portal(port: u16) -> String {
    format!("{}:3260", address(port))
}

fn must(program: &str, arguments: &[&str]) -> Result<String> {
    let output = command::run(program, arguments, command::LIMIT)?;
    let line = || format!("`{program} {}`: {}", arguments.join(" "), output.said());
    ensure!(output.status == 0, "{}", line());
    Ok(output.stdout)
}

/// Loads what is needed, and starts the initiator's daemon unless it runs.
pub(super) fn prepare() -> Result<()> {
    let modules = ["iscsi_target_mod", "iscsi_tcp", "sch_ingress", "cls_flower", "act_gact"];
    must("modprobe", &[&["-a"], &modules[..]].concat())?;
    must("ip", &["link", "set", "lo", "up"])?;
    if !must("tc", &["qdisc", "show", "dev", "lo"])?.contains("clsact") {
        must("tc", &["qdisc", "add", "dev", "lo", "clsact"])?;
    }
    if command::run("pidof", &["iscsid"], command::LIMIT)?.status != 0 {
        make(Path::new("/run/lock/iscsi"))?;
        write(
            Path::new("/etc/iscsi/initiatorname.iscsi"),
            "InitiatorName=iqn.2026-03.invalid.lab:guest\n",
        )?;
        // Nobody else is there to start it.
        let file = Path::new("/etc/iscsi/iscsid.conf");
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let keep = |line: &&str| !line.starts_with("iscsid.startup");
        let text: Vec<&str> = text.lines().filter(keep).collect();
        write(file, &text.join("\n"))?;
        must("iscsid", &[])?;
    }
    Ok(())
}

/// Makes a port, which nobody can use yet.
pub(super) fn set_up_port(port: u16) -> Result<()> {
    let folder = fabric(port);
    make(&folder.join("np").join(portal(port)))?;
    for (attribute, value) in
        [("authentication", "0"), ("generate_node_acls", "1"), ("demo_mode_write_protect", "0")]
    {
        write(&folder.join("attrib").join(attribute), value)?;
    }
    write(&folder.join("rtpi"), &port.to_string())
}

/// Lets the initiator in; gives the address of the path without its LUN.
pub(super) fn log_in(port: u16) -> Result<String> {
    write(&fabric(port).join("enable"), "1")?;
    let (name, portal) = (format!("{NAME}{port}"), portal(port));
    let node = ["-m", "node", "-T", &name, "-p", &format!("{portal},1")];
    must("iscsiadm", &[&node[..], &["-o", "new"]].concat())?;
    // How long the kernel holds commands back for a session that is lost: as multipathd sets it.
    let hold = ["-o", "update", "-n", "node.session.timeo.replacement_timeout", "-v", "5"];
    must("iscsiadm", &[&node[..], &hold].concat())?;
    must("iscsiadm", &[&node[..], &["-l"]].concat())?;
    for session in folders(Path::new("/sys/class/iscsi_session"), "session")? {
        if read(&session.join("targetname"))? == name {
            let device = fs::canonicalize(session.join("device"))?;
            let host = device.parent().and_then(Path::file_name).unwrap_or_default();
            let host = host.to_string_lossy().into_owned();
            let number = host.strip_prefix("host");
            let number = number.with_context(|| format!("{} has no host", device.display()))?;
            return Ok(format!("{number}:0:0"));
        }
    }
    anyhow::bail!("there is no session to {name}")
}

/// Drops every packet of a port, in both directions, or lets them pass again. Where they come in: TCP would
/// hear of those that are dropped where they go out, and end the connection within seconds.
pub(super) fn hang(port: u16, hung: bool) -> Result<()> {
    let (preference, address) = (port.to_string(), address(port));
    let rule = |end: &'static str, preference: &str| -> Result<()> {
        let place = ["filter", if hung { "add" } else { "del" }, "dev", "lo", "ingress"];
        let mut arguments = place.to_vec();
        arguments.extend(["pref", preference]);
        if hung {
            arguments.extend(["protocol", "ip", "flower", end, &address, "action", "drop"]);
        }
        must("tc", &arguments).map(drop)
    };
    rule("dst_ip", &preference)?;
    rule("src_ip", &format!("1{preference}"))
}

/// Takes sessions and targets down.
pub(super) fn take_down() -> Result<()> {
    let targets = Path::new(BASE).join("iscsi");
    if !targets.exists() {
        return Ok(());
    }
    // A rule that is left would keep a session from ending.
    let _ = command::run("tc", &["filter", "del", "dev", "lo", "ingress"], command::LIMIT);
    let sessions = Path::new("/sys/class/iscsi_session");
    if !folders(sessions, "session")?.is_empty() {
        must("iscsiadm", &["-m", "node", "-u"])?;
        let start = Instant::now();
        while !folders(sessions, "session")?.is_empty() {
            ensure!(start.elapsed() < command::LIMIT, "an iSCSI session does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
    for records in RECORDS {
        unless_gone(fs::remove_dir_all(records), Path::new(records))?;
    }
    for target in folders(&targets, NAME)? {
        let group = target.join("tpgt_1");
        write(&group.join("enable"), "0")?;
        for lun in folders(&group.join("lun"), "lun_")? {
            unless_gone(fs::remove_file(lun.join("port")), &lun)?;
            unless_gone(fs::remove_dir(&lun), &lun)?;
        }
        for portal in folders(&group.join("np"), "127.")? {
            unless_gone(fs::remove_dir(&portal), &portal)?;
        }
        unless_gone(fs::remove_dir(&group), &group)?;
        unless_gone(fs::remove_dir(&target), &target)?;
    }
    Ok(())
}
