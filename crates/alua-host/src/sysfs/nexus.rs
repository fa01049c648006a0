//! The two ends of a path, as the transport classes of Linux name them.

use std::fmt;
use std::path::Path;

use super::attribute;

/// The initiator's and the target's end of a path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Nexus {
    /// The driver of the SCSI host (`proc_name`): `qla2xxx`, `iscsi_tcp`, `scsi_debug`.
    pub host_driver: Option<String>,
    /// The target's end.
    pub target: TargetEnd,
}

/// The target's end of a path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum TargetEnd {
    /// No transport class tells.
    #[default]
    Unknown,
    /// Fibre Channel.
    Fc {
        /// The name of the remote port in sysfs: `rport-7:0-2`.
        remote_port: String,
        /// Its worldwide port name, as sysfs writes it: `0x5001...`.
        port_name: Option<String>,
        /// Its worldwide node name.
        node_name: Option<String>,
        /// `Online`, `Blocked`, `Not Present`, ...
        port_state: Option<String>,
        /// The worldwide port name of the initiator's port.
        initiator_port_name: Option<String>,
    },
    /// iSCSI.
    Iscsi {
        /// The session's name in sysfs: `session3`.
        session: String,
        /// The iSCSI name of the target.
        target_name: Option<String>,
        /// The target portal group tag.
        portal_group_tag: Option<u16>,
        /// Address and port to which the first connection goes.
        portal: Option<String>,
        /// `LOGGED_IN`, `FAILED`, `FREE`.
        state: Option<String>,
    },
    /// SAS.
    Sas {
        /// The end device's name in sysfs: `end_device-1:0:3`.
        end_device: String,
        /// Its SAS address, as sysfs writes it.
        address: Option<String>,
    },
}

impl Nexus {
    /// What the directories above `directory` (a resolved one) tell.
    pub(super) fn read(sysfs: &Path, directory: &Path, host: u32) -> Self {
        let class = sysfs.join("class");
        let host_name = format!("host{host}");
        Self {
            host_driver: attribute::text(
                &class.join("scsi_host").join(&host_name).join("proc_name"),
            ),
            target: TargetEnd::read(&class, directory, &host_name),
        }
    }
}

impl TargetEnd {
    fn read(class: &Path, directory: &Path, host_name: &str) -> Self {
        let above = |prefix: &str| {
            directory
                .components()
                .filter_map(|component| component.as_os_str().to_str())
                .rfind(|name| name.starts_with(prefix))
                .map(str::to_owned)
        };
        if let Some(remote_port) = above("rport-") {
            return Self::fc(class, remote_port, host_name);
        }
        if let Some(session) = above("session") {
            return Self::iscsi(class, session);
        }
        if let Some(end_device) = above("end_device-") {
            let address =
                attribute::text(&class.join("sas_device").join(&end_device).join("sas_address"));
            return Self::Sas { end_device, address };
        }
        Self::Unknown
    }

    fn fc(class: &Path, remote_port: String, host_name: &str) -> Self {
        let port = class.join("fc_remote_ports").join(&remote_port);
        Self::Fc {
            port_name: attribute::text(&port.join("port_name")),
            node_name: attribute::text(&port.join("node_name")),
            port_state: attribute::text(&port.join("port_state")),
            initiator_port_name: attribute::text(
                &class.join("fc_host").join(host_name).join("port_name"),
            ),
            remote_port,
        }
    }

    fn iscsi(class: &Path, session: String) -> Self {
        let values = class.join("iscsi_session").join(&session);
        let connection = session
            .strip_prefix("session")
            .map(|number| class.join("iscsi_connection").join(format!("connection{number}:0")));
        Self::Iscsi {
            target_name: attribute::text(&values.join("targetname")),
            portal_group_tag: attribute::number(&values.join("tpgt")),
            portal: connection.and_then(|connection| portal(&connection)),
            state: attribute::text(&values.join("state")),
            session,
        }
    }
}

fn portal(connection: &Path) -> Option<String> {
    let value = |name: &str, other: &str| {
        attribute::text(&connection.join(name)).or_else(|| attribute::text(&connection.join(other)))
    };
    let address = value("persistent_address", "address")?;
    let port = value("persistent_port", "port")?;
    // An IPv6 address needs brackets before a port.
    if address.contains(':') && !address.starts_with('[') {
        return Some(format!("[{address}]:{port}"));
    }
    Some(format!("{address}:{port}"))
}

impl fmt::Display for TargetEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".to_owned());
        match self {
            Self::Unknown => f.write_str("-"),
            Self::Fc { port_name, .. } => write!(f, "fc {}", or_unknown(port_name)),
            Self::Iscsi { target_name, portal, .. } => {
                write!(f, "iscsi {} {}", or_unknown(target_name), or_unknown(portal))
            }
            Self::Sas { address, .. } => write!(f, "sas {}", or_unknown(address)),
        }
    }
}
