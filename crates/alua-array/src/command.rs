//! The commands that the model knows: one table that everything else reads.

use std::sync::LazyLock;

/// The access states, besides the live ones, in which a command is processed, as bits.
mod state {
    pub(super) const STANDBY: u8 = 1;
    pub(super) const UNAVAILABLE: u8 = 2;
    pub(super) const TRANSITIONING: u8 = 4;
    pub(super) const OFFLINE: u8 = 8;
    /// READ CAPACITY: in standby when the settings say so.
    pub(super) const CAPACITY: u8 = 16;
}

const LIVE: u8 = 0;
const STANDBY: u8 = state::STANDBY;
const CAPACITY: u8 = state::CAPACITY;
const STPG: u8 = state::STANDBY | state::UNAVAILABLE;
const RTPG: u8 = STPG | state::TRANSITIONING;
const ALWAYS: u8 = RTPG | state::OFFLINE;

/// How a persistent reservation of another nexus stands to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reservation {
    /// Always allowed, or decides by itself.
    Free,
    /// Refused under exclusive access.
    Read,
    /// Refused under exclusive access and write exclusive.
    Write,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) command: Command,
    pub(crate) name: &'static str,
    pub(crate) opcode: u8,
    pub(crate) service_action: Option<u8>,
    permitted: u8,
    pub(crate) reservation: Reservation,
    /// CDB usage data of REPORT SUPPORTED OPERATION CODES; as long as the CDB.
    pub(crate) usage: &'static [u8],
}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident $name:literal $opcode:literal $action:expr, $permitted:ident
        $reservation:ident [$($usage:literal)*];)*) => {
        /// A command by name. Counters, faults and the trace speak of commands by these.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Command {
            $($(#[$doc])* $variant,)*
            /// Any operation code or service action that the model does not have.
            Other,
        }

        static TABLE: &[Row] = &[$(Row {
            command: Command::$variant,
            name: $name,
            opcode: $opcode,
            service_action: $action,
            permitted: $permitted,
            reservation: Reservation::$reservation,
            usage: &[$($usage),*],
        },)*];
    };
}

commands! {
    /// TEST UNIT READY, 00h.
    TestUnitReady "test-unit-ready" 0x00 None, LIVE Free [0x00 0 0 0 0 0x07];
    /// REQUEST SENSE, 03h.
    RequestSense "request-sense" 0x03 None, ALWAYS Free [0x03 1 0 0 0xff 0x07];
    /// READ (6), 08h.
    Read6 "read-6" 0x08 None, LIVE Read [0x08 0x1f 0xff 0xff 0xff 0x07];
    /// WRITE (6), 0Ah.
    Write6 "write-6" 0x0a None, LIVE Write [0x0a 0x1f 0xff 0xff 0xff 0x07];
    /// INQUIRY, 12h.
    Inquiry "inquiry" 0x12 None, ALWAYS Free [0x12 1 0xff 0xff 0xff 0x07];
    /// MODE SELECT (6), 15h.
    ModeSelect6 "mode-select-6" 0x15 None, STANDBY Write [0x15 0x11 0 0 0xff 0x07];
    /// MODE SENSE (6), 1Ah.
    ModeSense6 "mode-sense-6" 0x1a None, STANDBY Read [0x1a 0x08 0xff 0xff 0xff 0x07];
    /// START STOP UNIT, 1Bh.
    StartStopUnit "start-stop-unit" 0x1b None, LIVE Write [0x1b 1 0 0x0f 0xf7 0x07];
    /// SEND DIAGNOSTIC, 1Dh.
    SendDiagnostic "send-diagnostic" 0x1d None, STANDBY Write [0x1d 0xff 0 0xff 0xff 0x07];
    /// READ CAPACITY (10), 25h.
    ReadCapacity10 "read-capacity-10" 0x25 None, CAPACITY Free
        [0x25 0 0 0 0 0 0 0 0 0x07];
    /// READ (10), 28h.
    Read10 "read-10" 0x28 None, LIVE Read
        [0x28 0x18 0xff 0xff 0xff 0xff 0 0xff 0xff 0x07];
    /// WRITE (10), 2Ah.
    Write10 "write-10" 0x2a None, LIVE Write
        [0x2a 0x18 0xff 0xff 0xff 0xff 0 0xff 0xff 0x07];
    /// VERIFY (10), 2Fh.
    Verify10 "verify-10" 0x2f None, LIVE Read
        [0x2f 0x16 0xff 0xff 0xff 0xff 0 0xff 0xff 0x07];
    /// SYNCHRONIZE CACHE (10), 35h.
    SynchronizeCache10 "synchronize-cache-10" 0x35 None, LIVE Write
        [0x35 0x02 0xff 0xff 0xff 0xff 0 0xff 0xff 0x07];
    /// WRITE SAME (10), 41h.
    WriteSame10 "write-same-10" 0x41 None, LIVE Write
        [0x41 0x18 0xff 0xff 0xff 0xff 0 0xff 0xff 0x07];
    /// UNMAP, 42h.
    Unmap "unmap" 0x42 None, LIVE Write [0x42 0 0 0 0 0 0 0xff 0xff 0x07];
    /// LOG SENSE, 4Dh.
    LogSense "log-sense" 0x4d None, STANDBY Free [0x4d 0 0xff 0xff 0 0 0 0xff 0xff 0x07];
    /// MODE SELECT (10), 55h.
    ModeSelect10 "mode-select-10" 0x55 None, STANDBY Write
        [0x55 0x11 0 0 0 0 0 0xff 0xff 0x07];
    /// MODE SENSE (10), 5Ah.
    ModeSense10 "mode-sense-10" 0x5a None, STANDBY Read
        [0x5a 0x18 0xff 0xff 0 0 0 0xff 0xff 0x07];
    /// PERSISTENT RESERVE IN, 5Eh, every service action.
    PersistentReserveIn "persistent-reserve-in" 0x5e None, STANDBY Free
        [0x5e 0x1f 0 0 0 0 0 0xff 0xff 0x07];
    /// PERSISTENT RESERVE OUT, 5Fh, every service action.
    PersistentReserveOut "persistent-reserve-out" 0x5f None, STANDBY Free
        [0x5f 0x1f 0xff 0 0 0xff 0xff 0xff 0xff 0x07];
    /// READ (16), 88h.
    Read16 "read-16" 0x88 None, LIVE Read
        [0x88 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0x07];
    /// COMPARE AND WRITE, 89h.
    CompareAndWrite "compare-and-write" 0x89 None, LIVE Write
        [0x89 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0 0 0xff 0 0x07];
    /// WRITE (16), 8Ah.
    Write16 "write-16" 0x8a None, LIVE Write
        [0x8a 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0x07];
    /// VERIFY (16), 8Fh.
    Verify16 "verify-16" 0x8f None, LIVE Read
        [0x8f 0x16 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0x07];
    /// SYNCHRONIZE CACHE (16), 91h.
    SynchronizeCache16 "synchronize-cache-16" 0x91 None, LIVE Write
        [0x91 0x02 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0x07];
    /// WRITE SAME (16), 93h.
    WriteSame16 "write-same-16" 0x93 None, LIVE Write
        [0x93 0x19 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0x07];
    /// READ CAPACITY (16), 9Eh/10h.
    ReadCapacity16 "read-capacity-16" 0x9e Some(0x10), CAPACITY Free
        [0x9e 0x10 0 0 0 0 0 0 0 0 0xff 0xff 0xff 0xff 0 0x07];
    /// GET LBA STATUS, 9Eh/12h.
    GetLbaStatus "get-lba-status" 0x9e Some(0x12), LIVE Read
        [0x9e 0x12 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0x07];
    /// REPORT REFERRALS, 9Eh/13h.
    ReportReferrals "report-referrals" 0x9e Some(0x13), LIVE Free
        [0x9e 0x13 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 1 0x07];
    /// REPORT LUNS, A0h.
    ReportLuns "report-luns" 0xa0 None, ALWAYS Free
        [0xa0 0 0xff 0 0 0 0xff 0xff 0xff 0xff 0 0x07];
    /// REPORT TARGET PORT GROUPS, A3h/0Ah.
    ReportTargetPortGroups "report-target-port-groups" 0xa3 Some(0x0a), RTPG Free
        [0xa3 0xea 0 0 0 0 0xff 0xff 0xff 0xff 0 0x07];
    /// REPORT SUPPORTED OPERATION CODES, A3h/0Ch.
    ReportSupportedOperationCodes "report-supported-operation-codes" 0xa3 Some(0x0c), LIVE Free
        [0xa3 0x0c 0x87 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0x07];
    /// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS, A3h/0Dh.
    ReportSupportedTaskManagement "report-supported-task-management" 0xa3 Some(0x0d), LIVE Free
        [0xa3 0x0d 0x80 0 0 0 0xff 0xff 0xff 0xff 0 0x07];
    /// SET TARGET PORT GROUPS, A4h/0Ah.
    SetTargetPortGroups "set-target-port-groups" 0xa4 Some(0x0a), STPG Write
        [0xa4 0x0a 0 0 0 0 0xff 0xff 0xff 0xff 0 0x07];
    /// READ (12), A8h.
    Read12 "read-12" 0xa8 None, LIVE Read
        [0xa8 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0x07];
    /// WRITE (12), AAh.
    Write12 "write-12" 0xaa None, LIVE Write
        [0xaa 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0x07];
    /// VERIFY (12), AFh.
    Verify12 "verify-12" 0xaf None, LIVE Read
        [0xaf 0x16 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0x07];
}

/// For each operation code the place of its first row; 255 where there is none. Rows with the same
/// operation code stand together.
static FIRST: LazyLock<[u8; 256]> = LazyLock::new(|| {
    let mut first = [u8::MAX; 256];
    for (at, row) in TABLE.iter().enumerate().rev() {
        first[usize::from(row.opcode)] = at as u8;
    }
    first
});

impl Command {
    /// How many commands there are, [`Command::Other`] included.
    pub(crate) const COUNT: usize = Self::Other as usize + 1;

    /// The command of a CDB.
    #[must_use]
    pub fn of(cdb: &[u8]) -> Self {
        let Some(&opcode) = cdb.first() else { return Self::Other };
        let first = usize::from(FIRST[usize::from(opcode)]);
        let action = cdb.get(1).copied().unwrap_or(0) & 0x1f;
        for row in TABLE.iter().skip(first).take_while(|row| row.opcode == opcode) {
            if row.service_action.is_none_or(|own| own == action) {
                return row.command;
            }
        }
        Self::Other
    }

    pub(crate) fn row(self) -> Option<&'static Row> {
        TABLE.get(self as usize)
    }

    pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
        TABLE.iter()
    }

    /// Every command that the model has, in the order of their operation codes.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.command)
    }

    /// The name as faults and the trace write it: `report-target-port-groups`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map_or("other", |row| row.name)
    }

    /// The command with that [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "other" {
            return Some(Self::Other);
        }
        TABLE.iter().find(|row| row.name == name).map(|row| row.command)
    }

    /// The operation code; `None` for [`Command::Other`].
    #[must_use]
    pub fn opcode(self) -> Option<u8> {
        self.row().map(|row| row.opcode)
    }

    /// The service action where the operation code has several.
    #[must_use]
    pub fn service_action(self) -> Option<u8> {
        self.row().and_then(|row| row.service_action)
    }

    /// Bytes in the CDB; `None` for [`Command::Other`].
    #[must_use]
    pub fn cdb_length(self) -> Option<usize> {
        self.row().map(|row| row.usage.len())
    }
}

/// How much data a command takes from its initiator, as its CDB says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataOut {
    /// None.
    None,
    /// This many bytes: a parameter list.
    Bytes(u32),
    /// This many logical blocks.
    Blocks(u32),
}

impl DataOut {
    /// What the CDB says. A CDB that is cut short counts as filled up with zeros; a command that
    /// the model does not have takes none.
    #[must_use]
    pub fn of(cdb: &[u8]) -> Self {
        use Command as C;
        let field = |from: usize, length: usize| {
            let bytes = cdb.iter().skip(from).take(length);
            bytes.fold(0_u32, |value, &byte| value << 8 | u32::from(byte))
        };
        let command = Command::of(cdb);
        match command {
            C::Write6 => Self::Blocks(if field(4, 1) == 0 { 256 } else { field(4, 1) }),
            C::Write10 => Self::Blocks(field(7, 2)),
            C::Write12 => Self::Blocks(field(6, 4)),
            C::Write16 => Self::Blocks(field(10, 4)),
            C::Verify10 | C::Verify12 | C::Verify16 => match field(1, 1) >> 1 & 3 {
                1 if command == C::Verify10 => Self::Blocks(field(7, 2)),
                1 if command == C::Verify12 => Self::Blocks(field(6, 4)),
                1 => Self::Blocks(field(10, 4)),
                3 => Self::Blocks(1),
                _ => Self::None,
            },
            C::CompareAndWrite => Self::Blocks(2 * field(13, 1)),
            C::WriteSame16 if field(1, 1) & 1 != 0 => Self::None,
            C::WriteSame10 | C::WriteSame16 => Self::Blocks(1),
            C::ModeSelect6 => Self::Bytes(field(4, 1)),
            C::ModeSelect10 | C::Unmap => Self::Bytes(field(7, 2)),
            C::SendDiagnostic => Self::Bytes(field(3, 2)),
            C::PersistentReserveOut => Self::Bytes(field(5, 4)),
            C::SetTargetPortGroups => Self::Bytes(field(6, 4)),
            _ => Self::None,
        }
    }
}

impl Row {
    /// Whether the command reads, writes or checks blocks.
    pub(crate) const fn moves_blocks(&self) -> bool {
        use Command as C;
        matches!(
            self.command,
            C::Read6
                | C::Read10
                | C::Read12
                | C::Read16
                | C::Write6
                | C::Write10
                | C::Write12
                | C::Write16
                | C::Verify10
                | C::Verify12
                | C::Verify16
                | C::WriteSame10
                | C::WriteSame16
                | C::CompareAndWrite
                | C::Unmap
        )
    }

    pub(crate) const fn in_standby(&self, read_capacity: bool) -> bool {
        self.permitted & state::STANDBY != 0
            || (read_capacity && self.permitted & state::CAPACITY != 0)
    }

    pub(crate) const fn in_unavailable(&self) -> bool {
        self.permitted & state::UNAVAILABLE != 0
    }

    pub(crate) const fn in_transitioning(&self) -> bool {
        self.permitted & state::TRANSITIONING != 0
    }

    pub(crate) const fn in_offline(&self) -> bool {
        self.permitted & state::OFFLINE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum_and_of_the_codes() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.command as usize, at, "{}", row.name);
            assert_eq!(row.usage[0], row.opcode, "{}", row.name);
        }
        let code = |row: &Row| (row.opcode, row.service_action);
        assert!(TABLE.windows(2).all(|pair| code(&pair[0]) < code(&pair[1])));
    }

    #[test]
    fn lengths_are_those_of_the_code_groups() {
        for row in TABLE {
            let length = match row.opcode >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                _ => 12,
            };
            assert_eq!(row.usage.len(), length, "{}", row.name);
        }
    }

    #[test]
    fn data_out_is_what_the_cdb_says() {
        let of = |cdb: &[u8]| DataOut::of(cdb);
        assert_eq!(of(&[0x0a, 0, 0, 0, 0, 0]), DataOut::Blocks(256));
        assert_eq!(of(&[0x2a, 0, 0, 0, 0, 0, 0, 1, 2, 0]), DataOut::Blocks(258));
        assert_eq!(of(&[0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0]), DataOut::Blocks(6));
        assert_eq!(of(&[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0]), DataOut::Bytes(12));
        assert_eq!(of(&[0xa4, 0x0b, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0]), DataOut::None);
        assert_eq!(of(&[0x2f, 0, 0, 0, 0, 0, 0, 0, 9, 0]), DataOut::None);
        assert_eq!(of(&[0x2f, 2, 0, 0, 0, 0, 0, 0, 9, 0]), DataOut::Blocks(9));
        assert_eq!(of(&[0x2f, 6, 0, 0, 0, 0, 0, 0, 9, 0]), DataOut::Blocks(1));
        assert_eq!(of(&[0x93, 1]), DataOut::None);
        assert_eq!(of(&[0x28, 0, 0, 0, 0, 0, 0, 0, 9, 0]), DataOut::None);
        assert_eq!(of(&[0x2a]), DataOut::Blocks(0));
        assert_eq!(of(&[]), DataOut::None);
    }

    #[test]
    fn names_and_cdbs_find_their_command() {
        for command in Command::all() {
            assert_eq!(Command::from_name(command.name()), Some(command));
            let mut cdb = vec![0; command.cdb_length().unwrap()];
            cdb[0] = command.opcode().unwrap();
            cdb[1] = command.service_action().unwrap_or(0);
            assert_eq!(Command::of(&cdb), command);
        }
        assert_eq!(Command::of(&[]), Command::Other);
        assert_eq!(Command::of(&[0x16, 0, 0, 0, 0, 0]), Command::Other);
        assert_eq!(Command::of(&[0xa3, 0x01]), Command::Other);
    }
}
