//! The structures and numbers of the border. `alua_rs.h` is the same in C; a test compares the
//! numbers, and both sides assert the sizes.

/// Bytes of sense data that the kernel keeps (`SCSI_SENSE_BUFFERSIZE`).
pub const SENSE_BYTES: usize = 96;
/// Commands of one unit that the glue runs at the same time: one of each of three kinds that the core
/// keeps in flight, those that it leaves to run, and one that was lost with its path and has not come
/// back.
pub const SLOTS: usize = 3 + alua_core::unit::LEFT_MAX + 1;
/// Bytes that a command of ours sends at most.
pub const DATA_OUT_BYTES: usize = alua_core::unit::DATA_OUT_MAX;
/// Bytes of the longest name of a logical unit.
pub const NAME_BYTES: usize = 255;

/// `struct alua_config`: the module's parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AluaConfig {
    /// Raises the limit of every transition to at least this, in milliseconds; 0: the target's own.
    pub transition_at_least_ms: u32,
    /// How often a unit is looked at that is stuck or cannot be read, in milliseconds.
    pub reprobe_ms: u32,
    /// TEST UNIT READY to one idle path after another, one per this time; 0: never.
    pub idle_probe_ms: u32,
    /// The `optimize_stpg` rule.
    pub optimize: u8,
    /// Not used.
    pub reserved: [u8; 3],
}

/// `struct alua_identity`: what a device says of itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AluaIdentity {
    /// A hash of the name, equal for equal names; 0 without one.
    pub name_hash: u32,
    /// The target port group; -1 without one.
    pub group: i32,
    /// The relative target port; -1 without one.
    pub relative_port: i32,
    /// One of `ALUA_ID_*`.
    pub verdict: u8,
    /// Whether the logical unit has a name.
    pub has_name: u8,
    /// TPGS, 0 to 3.
    pub tpgs: u8,
    /// Not used.
    pub reserved: u8,
}

/// The device takes part.
pub const ALUA_ID_OK: u8 = 0;
/// It does not support ALUA, or is no disk: the handler is not for it.
pub const ALUA_ID_OFF: u8 = 1;
/// TPGS is 0, but page 83h names a group: switched off for this host in the array.
pub const ALUA_ID_OFF_WITH_GROUP: u8 = 2;
/// It takes part, but its page 83h is missing or names no group yet.
pub const ALUA_ID_NO_GROUP: u8 = 3;
/// It takes part, but its page 83h cannot be understood.
pub const ALUA_ID_BAD_PAGE: u8 = 4;

/// `struct alua_command`: a command to be sent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AluaCommand {
    /// Which of the unit's [`SLOTS`] it takes, until `alua_rs_complete`.
    pub slot: u8,
    /// Bytes of `cdb` that count.
    pub cdb_len: u8,
    /// How long it waits for room in a queue, in milliseconds, before a request that is held there
    /// makes it.
    pub room_ms: u16,
    /// The path to send it down.
    pub path: u16,
    /// Bytes of `data_out` to send.
    pub data_out_len: u16,
    /// Bytes of buffer to offer for the answer.
    pub data_in_len: u32,
    /// When it is given up, in milliseconds.
    pub timeout_ms: u32,
    /// The command descriptor block.
    pub cdb: [u8; 16],
    /// What is sent.
    pub data_out: [u8; DATA_OUT_BYTES],
}

/// `struct alua_event`: something that changed, and for the glue to carry out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AluaEvent {
    /// One of `ALUA_EV_*`.
    pub kind: u8,
    /// The state before, 0h to Fh or [`ALUA_UNKNOWN`].
    pub from: u8,
    /// The state now.
    pub to: u8,
    /// Whether the group is preferred.
    pub preferred: u8,
    /// The gate now, one of `ALUA_GATE_*`.
    pub gate: u8,
    /// The byte for `sdev->access_state`.
    pub access_state: u8,
    /// Whether requests of the path that the midlayer keeps for later are to be sent again now.
    pub resend: u8,
    /// Whether it is worth a line in the log, where it is about a group, a path's state or a
    /// failure; else without a meaning.
    pub log: u8,
    /// The path, in events about one.
    pub path: u16,
    /// The group, in events about one.
    pub group: u16,
    /// How long the gate may hold I/O, in milliseconds, from the first of several such events in a row; 0
    /// where it does not hold any.
    pub hold_most_ms: u16,
    /// Not used.
    pub reserved2: u16,
    /// The activation, in events about one.
    pub activation: u32,
    /// How it ended, one of `SCSI_DH_*`.
    pub result: i32,
    /// What it rests on.
    pub cause: AluaCause,
}

/// `struct alua_cause`: what a state or an error rests on.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AluaCause {
    /// One of `ALUA_CAUSE_*`.
    pub kind: u8,
    /// Sense key, where it is a matter of sense.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
    /// The path that told; [`ALUA_NO_PATH`] without one.
    pub path: u16,
    /// SCSI status, where it is a matter of that.
    pub status: u8,
    /// Not used.
    pub reserved: u8,
    /// Milliseconds for a limit, bytes for a length.
    pub detail: u32,
}

/// A state that is not known.
pub const ALUA_UNKNOWN: u8 = 0xff;
/// What `sdev->access_state` holds while the state is not known: a value that SPC reserves, so that
/// sysfs says "unknown" and not "active/optimized".
pub const ALUA_ACCESS_UNKNOWN: u8 = 0x05;
/// No path.
pub const ALUA_NO_PATH: u16 = 0xffff;

/// The state of a group changed.
pub const ALUA_EV_GROUP: u8 = 1;
/// The state of a path changed.
pub const ALUA_EV_PATH: u8 = 2;
/// The gate of a path changed.
pub const ALUA_EV_GATE: u8 = 3;
/// Another logical unit answers on the path.
pub const ALUA_EV_IDENTITY: u8 = 4;
/// A refresh ended without a report.
pub const ALUA_EV_FAILED: u8 = 5;
/// An activation ended.
pub const ALUA_EV_ACTIVATION: u8 = 6;
/// Groups of the report found no place; `cause.detail` of them.
pub const ALUA_EV_NOT_STORED: u8 = 7;
/// The capacity changed, as a command of ours was told.
pub const ALUA_EV_CAPACITY: u8 = 8;

/// I/O passes.
pub const ALUA_GATE_PASS: u8 = 0;
/// I/O waits, for `hold_most_ms` at most; from then on it is refused as what may work later.
pub const ALUA_GATE_HOLD: u8 = 1;
/// I/O is refused.
pub const ALUA_GATE_REFUSE: u8 = 2;

/// Nothing was read yet.
pub const ALUA_CAUSE_NEVER: u8 = 0;
/// ALUA is off.
pub const ALUA_CAUSE_OFF: u8 = 1;
/// The path names no group.
pub const ALUA_CAUSE_NO_GROUP: u8 = 2;
/// A report through `path`.
pub const ALUA_CAUSE_REPORT: u8 = 3;
/// Sense on `path`.
pub const ALUA_CAUSE_SENSE: u8 = 4;
/// The transition outlived its limit of `detail` milliseconds.
pub const ALUA_CAUSE_EXPIRED: u8 = 5;
/// The report through `path` does not list the group.
pub const ALUA_CAUSE_ABSENT: u8 = 6;
/// TEST UNIT READY succeeded on `path`, and no report can be read.
pub const ALUA_CAUSE_READY: u8 = 7;
/// No path is left to ask.
pub const ALUA_CAUSE_NO_PATH: u8 = 16;
/// The command could not be submitted.
pub const ALUA_CAUSE_NOT_SUBMITTED: u8 = 17;
/// The transport failed, last on `path`.
pub const ALUA_CAUSE_TRANSPORT: u8 = 18;
/// No answer in time, last on `path`.
pub const ALUA_CAUSE_TIMEOUT: u8 = 19;
/// The target refuses REPORT TARGET PORT GROUPS.
pub const ALUA_CAUSE_UNSUPPORTED: u8 = 20;
/// The target answered with sense.
pub const ALUA_CAUSE_BAD_SENSE: u8 = 21;
/// The target answered with a status.
pub const ALUA_CAUSE_STATUS: u8 = 22;
/// The report breaks a rule of its format at byte `detail`.
pub const ALUA_CAUSE_MALFORMED: u8 = 23;
/// The target claims `detail` bytes, or more each time.
pub const ALUA_CAUSE_TOO_LONG: u8 = 24;
/// Unit attentions took every turn.
pub const ALUA_CAUSE_ATTENTIONS: u8 = 25;
/// The identity of the paths left is in doubt.
pub const ALUA_CAUSE_DOUBT: u8 = 26;

/// `struct alua_activation`: what became of a request for activation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AluaActivation {
    /// One of `ALUA_ACT_*`.
    pub kind: u32,
    /// Names the activation when it runs.
    pub id: u32,
    /// `SCSI_DH_*` when it ended at once.
    pub result: i32,
}

/// It runs; an event with its `id` ends it.
pub const ALUA_ACT_RUNS: u32 = 0;
/// It ended at once; no event will come.
pub const ALUA_ACT_DONE: u32 = 1;
/// Too many run: to be asked again when one has ended.
pub const ALUA_ACT_LATER: u32 = 2;

/// A path was added.
pub const ALUA_ADD_OK: i32 = 0;
/// There is no room: the unit is to be grown first.
pub const ALUA_ADD_GROW: i32 = 1;
/// The path belongs to another unit.
pub const ALUA_ADD_OTHER: i32 = 2;

/// The path stays in its unit.
pub const ALUA_RESCAN_KEEP: i32 = 0;
/// The path belongs to another unit now: remove it, and add it there.
pub const ALUA_RESCAN_MOVE: i32 = 1;

/// `struct alua_unit_view`: a unit, for debugfs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AluaUnitView {
    /// REPORT TARGET PORT GROUPS sent.
    pub rtpg: u32,
    /// SET TARGET PORT GROUPS sent.
    pub stpg: u32,
    /// TEST UNIT READY sent.
    pub tur: u32,
    /// Readings of page 83h.
    pub identity_reads: u32,
    /// Triggers that another refresh served.
    pub coalesced: u32,
    /// Unit attentions that were old news.
    pub old_news: u32,
    /// Refreshes without a report.
    pub refresh_failures: u32,
    /// The limit of a transition, in milliseconds.
    pub transition_limit_ms: u32,
    /// Age of the last report in milliseconds; -1 without one.
    pub report_age_ms: i64,
    /// Until the next deadline in milliseconds; -1 without one.
    pub deadline_ms: i64,
    /// Why the last refresh failed; kind 0 where it did not.
    pub failure: AluaCause,
    /// TPGS; 0 where ALUA is off.
    pub tpgs: u8,
    /// Whether a refresh or activation runs or is due.
    pub busy: u8,
    /// 0 not known, 1 the extended header is answered, 2 it is refused.
    pub extended_header: u8,
    /// Kind of the name: 0 none, 1 t10, 2 eui, 3 naa, 4 scsi name, 5 uuid.
    pub name_kind: u8,
    /// Commands among those sent that repeat one which brought nothing to go by.
    pub retries: u32,
}

/// `struct alua_group_view`: a group, for debugfs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AluaGroupView {
    /// The TARGET PORT GROUP identifier.
    pub id: u16,
    /// The state, or [`ALUA_UNKNOWN`].
    pub state: u8,
    /// PREF.
    pub preferred: u8,
    /// The support bits as sent.
    pub supported: u8,
    /// 0 none, 1 in transition, 2 the transition outlived its limit.
    pub transition: u8,
    /// Not used.
    pub reserved: [u8; 2],
    /// Until the transition's limit in milliseconds; -1 without one.
    pub deadline_ms: i64,
    /// What the state rests on.
    pub cause: AluaCause,
}

/// `struct alua_path_view`: a path, for debugfs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AluaPathView {
    /// The target port group; -1 without one.
    pub group: i32,
    /// The relative target port; -1 without one.
    pub relative_port: i32,
    /// The state that counts, or [`ALUA_UNKNOWN`].
    pub state: u8,
    /// The gate.
    pub gate: u8,
    /// 0 verified, 1 in doubt, 2 unreadable, 3 changed.
    pub identity: u8,
    /// 0 untried, 1 answered, 2 failed.
    pub transport: u8,
    /// What the state rests on.
    pub cause: AluaCause,
}

// The same numbers stand in alua_rs.h.
const _: () = assert!(size_of::<AluaConfig>() == 16);
const _: () = assert!(size_of::<AluaIdentity>() == 16);
const _: () = assert!(size_of::<AluaCommand>() == 100);
const _: () = assert!(size_of::<AluaCause>() == 12);
const _: () = assert!(size_of::<AluaEvent>() == 36);
const _: () = assert!(size_of::<AluaActivation>() == 12);
const _: () = assert!(size_of::<AluaUnitView>() == 72);
const _: () = assert!(size_of::<AluaGroupView>() == 32);
const _: () = assert!(size_of::<AluaPathView>() == 24);
