//! The fields of each basic header segment. All numbers are big-endian; every struct is 48 bytes.
#![allow(missing_debug_implementations, reason = "the derives make hidden types of their own")]

use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::HEADER;

macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            ///
            /// Fields have the names of the RFC; `_reserved` ones are written as zeros and not
            /// read.
            #[derive(
                Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable,
                Unaligned,
            )]
            #[repr(C)]
            #[expect(missing_docs, reason = "the names are those of the RFC")]
            pub struct $name {
                $(pub $field: $type,)*
            }

            const _: () = assert!(size_of::<$name>() == HEADER);

            impl $name {
                /// Every field zero.
                #[must_use]
                pub fn zeroed() -> Self {
                    <Self as FromBytes>::read_from_bytes(&[0; HEADER]).unwrap_or_else(|_| {
                        unreachable!("48 bytes are the size of the header")
                    })
                }

                /// The header in these bytes.
                #[must_use]
                pub fn of(bytes: &[u8; HEADER]) -> Self {
                    zerocopy::transmute!(*bytes)
                }

                /// The bytes of the header.
                #[must_use]
                pub fn bytes(&self) -> [u8; HEADER] {
                    zerocopy::transmute!(*self)
                }
            }
        )*
    };
}

layouts! {
    /// What all headers share.
    Basic {
        opcode: u8,
        flags: u8,
        specific: [u8; 2],
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        lun: [u8; 8],
        initiator_task_tag: U32,
        target_transfer_tag: U32,
        rest: [u8; 24],
    }

    /// SCSI Command (section 11.3).
    Command {
        opcode: u8,
        flags: u8,
        _reserved: [u8; 2],
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        lun: [u8; 8],
        initiator_task_tag: U32,
        expected_length: U32,
        cmd_sn: U32,
        exp_stat_sn: U32,
        cdb: [u8; 16],
    }

    /// SCSI Response (section 11.4).
    Response {
        opcode: u8,
        flags: u8,
        response: u8,
        status: u8,
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        _reserved: [u8; 8],
        initiator_task_tag: U32,
        snack_tag: U32,
        stat_sn: U32,
        exp_cmd_sn: U32,
        max_cmd_sn: U32,
        exp_data_sn: U32,
        bidirectional_residual: U32,
        residual: U32,
    }

    /// Task Management Function Request (section 11.5).
    Function {
        opcode: u8,
        function: u8,
        _reserved: [u8; 2],
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        lun: [u8; 8],
        initiator_task_tag: U32,
        referenced_task_tag: U32,
        cmd_sn: U32,
        exp_stat_sn: U32,
        ref_cmd_sn: U32,
        exp_data_sn: U32,
        _reserved_2: [u8; 8],
    }

    /// Task Management Function Response (section 11.6), Logout Response (section 11.15).
    Answer {
        opcode: u8,
        flags: u8,
        response: u8,
        _reserved: u8,
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        _reserved_2: [u8; 8],
        initiator_task_tag: U32,
        _reserved_3: [u8; 4],
        stat_sn: U32,
        exp_cmd_sn: U32,
        max_cmd_sn: U32,
        _reserved_4: [u8; 4],
        time_to_wait: U16,
        time_to_retain: U16,
        _reserved_5: [u8; 4],
    }

    /// SCSI Data-Out (section 11.7).
    DataOut {
        opcode: u8,
        flags: u8,
        _reserved: [u8; 2],
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        lun: [u8; 8],
        initiator_task_tag: U32,
        target_transfer_tag: U32,
        _reserved_2: [u8; 4],
        exp_stat_sn: U32,
        _reserved_3: [u8; 4],
        data_sn: U32,
        buffer_offset: U32,
        _reserved_4: [u8; 4],
    }

    /// SCSI Data-In (section 11.7).
    DataIn {
        opcode: u8,
        flags: u8,
        _reserved: u8,
        status: u8,
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        lun: [u8; 8],
        initiator_task_tag: U32,
        target_transfer_tag: U32,
        stat_sn: U32,
        exp_cmd_sn: U32,
        max_cmd_sn: U32,
        data_sn: U32,
        buffer_offset: U32,
        residual: U32,
    }

    /// Ready To Transfer (section 11.8).
    Ready {
        opcode: u8,
        flags: u8,
        _reserved: [u8; 2],
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        lun: [u8; 8],
        initiator_task_tag: U32,
        target_transfer_tag: U32,
        stat_sn: U32,
        exp_cmd_sn: U32,
        max_cmd_sn: U32,
        r2t_sn: U32,
        buffer_offset: U32,
        desired_length: U32,
    }

    /// Asynchronous Message (section 11.9).
    Async {
        opcode: u8,
        flags: u8,
        _reserved: [u8; 2],
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        lun: [u8; 8],
        no_tag: U32,
        _reserved_2: [u8; 4],
        stat_sn: U32,
        exp_cmd_sn: U32,
        max_cmd_sn: U32,
        event: u8,
        vendor_code: u8,
        parameter_1: U16,
        parameter_2: U16,
        parameter_3: U16,
        _reserved_3: [u8; 4],
    }

    /// Text Request and Response (sections 11.10, 11.11), NOP-Out and NOP-In (11.18, 11.19): what
    /// these four share. In requests `sn` is CmdSN and `exp_sn` ExpStatSN; in responses they are
    /// StatSN and ExpCmdSN.
    Exchange {
        opcode: u8,
        flags: u8,
        _reserved: [u8; 2],
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        lun: [u8; 8],
        initiator_task_tag: U32,
        target_transfer_tag: U32,
        sn: U32,
        exp_sn: U32,
        max_cmd_sn: U32,
        _reserved_2: [u8; 12],
    }

    /// Login Request (section 11.12).
    LoginRequest {
        opcode: u8,
        flags: u8,
        version_max: u8,
        version_min: u8,
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        isid: [u8; 6],
        tsih: U16,
        initiator_task_tag: U32,
        cid: U16,
        _reserved: [u8; 2],
        cmd_sn: U32,
        exp_stat_sn: U32,
        _reserved_2: [u8; 16],
    }

    /// Login Response (section 11.13).
    LoginResponse {
        opcode: u8,
        flags: u8,
        version_max: u8,
        version_active: u8,
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        isid: [u8; 6],
        tsih: U16,
        initiator_task_tag: U32,
        _reserved: [u8; 4],
        stat_sn: U32,
        exp_cmd_sn: U32,
        max_cmd_sn: U32,
        status_class: u8,
        status_detail: u8,
        _reserved_2: [u8; 10],
    }

    /// Logout Request (section 11.14).
    LogoutRequest {
        opcode: u8,
        reason: u8,
        _reserved: [u8; 2],
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        _reserved_2: [u8; 8],
        initiator_task_tag: U32,
        cid: U16,
        _reserved_3: [u8; 2],
        cmd_sn: U32,
        exp_stat_sn: U32,
        _reserved_4: [u8; 16],
    }

    /// Reject (section 11.17).
    Reject {
        opcode: u8,
        flags: u8,
        reason: u8,
        _reserved: u8,
        total_ahs_length: u8,
        data_segment_length: [u8; 3],
        _reserved_2: [u8; 8],
        no_tag: U32,
        _reserved_3: [u8; 4],
        stat_sn: U32,
        exp_cmd_sn: U32,
        max_cmd_sn: U32,
        data_sn: U32,
        _reserved_4: [u8; 8],
    }
}

/// The 24-bit length of a data segment.
#[must_use]
pub const fn length_of(bytes: [u8; 3]) -> usize {
    let [a, b, c] = bytes;
    u32::from_be_bytes([0, a, b, c]) as usize
}

/// The 24-bit field of a data segment of `length` bytes; larger ones than it holds are cut.
#[must_use]
pub fn length_field(length: usize) -> [u8; 3] {
    let [_, a, b, c] = u32::try_from(length.min(0xff_ffff)).unwrap_or(0).to_be_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_rfc_says() {
        let mut bytes = [0; HEADER];
        for (at, byte) in (0..).zip(&mut bytes) {
            *byte = at;
        }
        let of = |n: u8| u32::from_be_bytes([n, n + 1, n + 2, n + 3]);
        let command = Command::of(&bytes);
        assert_eq!(command.initiator_task_tag.get(), of(16));
        assert_eq!(command.expected_length.get(), of(20));
        assert_eq!(command.cmd_sn.get(), of(24));
        assert_eq!(command.cdb[0], 32);
        assert_eq!(command.bytes(), bytes);
        let data = DataOut::of(&bytes);
        assert_eq!((data.data_sn.get(), data.buffer_offset.get()), (of(36), of(40)));
        let ready = Ready::of(&bytes);
        assert_eq!((ready.stat_sn.get(), ready.desired_length.get()), (of(24), of(44)));
        let login = LoginRequest::of(&bytes);
        assert_eq!((login.isid[0], login.tsih.get()), (8, 0x0e0f));
        assert_eq!((login.cid.get(), login.cmd_sn.get()), (0x1415, of(24)));
        let answer = Answer::of(&bytes);
        assert_eq!((answer.time_to_wait.get(), answer.time_to_retain.get()), (0x2829, 0x2a2b));
        let message = Async::of(&bytes);
        assert_eq!((message.event, message.vendor_code), (36, 37));
        assert_eq!(message.parameter_3.get(), 0x2a2b);
        let response = Response::of(&bytes);
        assert_eq!((response.status, response.residual.get()), (3, of(44)));
        let function = Function::of(&bytes);
        assert_eq!(function.ref_cmd_sn.get(), of(32));
        assert_eq!(LoginResponse::of(&bytes).status_class, 36);
        assert_eq!(Reject::of(&bytes).data_sn.get(), of(36));
    }

    #[test]
    fn lengths_have_24_bits() {
        assert_eq!(length_of(length_field(0x12_3456)), 0x12_3456);
        assert_eq!(length_of(length_field(1 << 24)), 0xff_ffff);
    }
}
