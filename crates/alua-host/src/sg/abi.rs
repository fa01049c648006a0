//! The kernel's structures for `SG_IO` (linux include/scsi/sg.h and include/uapi/linux/bsg.h) and
//! the calls that take them. All `unsafe` of this crate is here.
//!
//! # Why the calls are sound
//!
//! Both structures carry addresses of three buffers: CDB, sense, data. They are filled from Rust
//! references which live across the call, with the lengths of these references, so the kernel reads
//! and writes inside them only. The call returns after the kernel has finished with the buffers:
//! block devices and bsg wait without letting a signal in; sg may return early for a signal, and
//! then completes into buffers of its own, because `SG_FLAG_DIRECT_IO` is never set.

use std::ffi::{c_int, c_uchar, c_uint, c_ushort, c_void};
use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::io;
use rustix::ioctl::{self, Opcode};

use crate::transport::{Data, SENSE_CAPACITY};

const SG_GET_VERSION_NUM: Opcode = 0x2282;
const SG_SCSI_RESET: Opcode = 0x2284;
const SG_IO: Opcode = 0x2285;

/// LOGICAL UNIT RESET.
const SG_SCSI_RESET_DEVICE: c_int = 1;
/// When that fails, nothing larger is tried. Kernels before 3.18 know no such bit, and refuse it.
const SG_SCSI_RESET_NO_ESCALATE: c_int = 0x100;

const SG_DXFER_NONE: c_int = -1;
const SG_DXFER_TO_DEV: c_int = -2;
const SG_DXFER_FROM_DEV: c_int = -3;

/// `struct sg_io_hdr`, interface version 3.
#[repr(C)]
struct SgIoV3 {
    interface_id: c_int,
    dxfer_direction: c_int,
    cmd_len: c_uchar,
    mx_sb_len: c_uchar,
    iovec_count: c_ushort,
    dxfer_len: c_uint,
    dxferp: *mut c_void,
    cmdp: *const c_uchar,
    sbp: *mut c_uchar,
    timeout: c_uint,
    flags: c_uint,
    pack_id: c_int,
    usr_ptr: *mut c_void,
    status: c_uchar,
    masked_status: c_uchar,
    msg_status: c_uchar,
    sb_len_wr: c_uchar,
    host_status: c_ushort,
    driver_status: c_ushort,
    resid: c_int,
    duration: c_uint,
    info: c_uint,
}

/// `struct sg_io_v4`.
#[repr(C)]
#[derive(Default)]
struct SgIoV4 {
    guard: i32,
    protocol: u32,
    subprotocol: u32,
    request_len: u32,
    request: u64,
    request_tag: u64,
    request_attr: u32,
    request_priority: u32,
    request_extra: u32,
    max_response_len: u32,
    response: u64,
    dout_iovec_count: u32,
    dout_xfer_len: u32,
    din_iovec_count: u32,
    din_xfer_len: u32,
    dout_xferp: u64,
    din_xferp: u64,
    timeout: u32,
    flags: u32,
    usr_ptr: u64,
    spare_in: u32,
    driver_status: u32,
    transport_status: u32,
    device_status: u32,
    retry_delay: u32,
    info: u32,
    duration: u32,
    response_len: u32,
    din_resid: i32,
    dout_resid: i32,
    generated_tag: u64,
    spare_out: u32,
    padding: u32,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<SgIoV3>() == 88);
#[cfg(target_pointer_width = "32")]
const _: () = assert!(size_of::<SgIoV3>() == 64);
const _: () = assert!(size_of::<SgIoV4>() == 160);

/// What the kernel wrote back, the same for both versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Completion {
    /// SCSI status byte.
    pub(super) status: u8,
    /// `DID_*`.
    pub(super) host: u16,
    /// `DRIVER_*`.
    pub(super) driver: u16,
    /// Sense bytes written, as told.
    pub(super) sense_length: usize,
    /// Buffer length minus bytes moved, as told.
    pub(super) residual: i32,
}

/// The version of the `SG_IO` v3 interface that the device speaks, for example 30527.
///
/// # Errors
///
/// ENOTTY, EINVAL and others from a device that has no such interface.
pub(super) fn version(fd: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: SG_GET_VERSION_NUM writes one int to the address that it gets, and nothing else; sg.c,
    // scsi_ioctl.c and bsg.c agree. `Getter` gives it room for one.
    unsafe { ioctl::ioctl(fd, ioctl::Getter::<SG_GET_VERSION_NUM, c_int>::new()) }
}

/// Asks the host adapter's driver for a reset of the logical unit, and of nothing else. Returns when
/// it has been answered.
///
/// # Errors
///
/// EACCES without the capabilities, EAGAIN during error recovery, ENOTTY or EINVAL where there is no
/// such call, EIO when the driver has no such function or it failed.
pub(super) fn reset_unit(fd: BorrowedFd<'_>) -> io::Result<()> {
    let what = SG_SCSI_RESET_DEVICE | SG_SCSI_RESET_NO_ESCALATE;
    // SAFETY: SG_SCSI_RESET reads one int from the address that it gets, writes nothing, and keeps
    // no reference to it; scsi_ioctl.c, to which sd and sg hand it, is the only reader. `Setter`
    // gives it the address of `what`, which lives until the call has returned.
    unsafe { ioctl::ioctl(fd, ioctl::Setter::<SG_SCSI_RESET, c_int>::new(what)) }
}

/// Carries a command by interface version 3. Returns when it has ended.
///
/// The CDB is at most 255 bytes and the data buffer at most `c_uint::MAX`: the caller has checked.
pub(super) fn submit_v3(
    fd: BorrowedFd<'_>,
    cdb: &[u8],
    data: &mut Data<'_>,
    sense: &mut [u8; SENSE_CAPACITY],
    timeout_ms: u32,
) -> io::Result<Completion> {
    let (dxfer_direction, dxferp, length) = match data {
        Data::None => (SG_DXFER_NONE, ptr::null_mut(), 0),
        Data::In(buffer) => (SG_DXFER_FROM_DEV, buffer.as_mut_ptr().cast(), buffer.len()),
        // The kernel only reads it in this direction; the field is not const in C.
        Data::Out(buffer) => {
            (SG_DXFER_TO_DEV, buffer.as_ptr().cast_mut().cast::<c_void>(), buffer.len())
        }
    };
    let mut header = SgIoV3 {
        interface_id: c_int::from(b'S'),
        dxfer_direction: if length == 0 { SG_DXFER_NONE } else { dxfer_direction },
        cmd_len: c_uchar::try_from(cdb.len()).map_err(|_| io::Errno::INVAL)?,
        mx_sb_len: SENSE_CAPACITY as c_uchar,
        iovec_count: 0,
        dxfer_len: c_uint::try_from(length).map_err(|_| io::Errno::INVAL)?,
        dxferp,
        cmdp: cdb.as_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: timeout_ms,
        flags: 0,
        pack_id: 0,
        usr_ptr: ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sb_len_wr: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: SG_IO on a v3 node takes `struct sg_io_hdr`, which `SgIoV3` is field by field (size
    // asserted above), and writes its output fields back. `cmdp`/`cmd_len`, `sbp`/`mx_sb_len` and
    // `dxferp`/`dxfer_len` are address and length of `cdb`, `sense` (exclusively borrowed) and the
    // data buffer (exclusively borrowed when the kernel writes to it), all alive until the call has
    // returned; the module's documentation says why the kernel does not write to them later.
    unsafe { ioctl::ioctl(fd, ioctl::Updater::<SG_IO, SgIoV3>::new(&mut header))? };
    Ok(Completion {
        status: header.status,
        host: header.host_status,
        driver: header.driver_status,
        sense_length: usize::from(header.sb_len_wr),
        residual: header.resid,
    })
}

/// Carries a command by interface version 4 (bsg). Returns when it has ended.
pub(super) fn submit_v4(
    fd: BorrowedFd<'_>,
    cdb: &[u8],
    data: &mut Data<'_>,
    sense: &mut [u8; SENSE_CAPACITY],
    timeout_ms: u32,
) -> io::Result<Completion> {
    let mut header = SgIoV4 {
        guard: i32::from(b'Q'),
        request_len: u32::try_from(cdb.len()).map_err(|_| io::Errno::INVAL)?,
        request: cdb.as_ptr().expose_provenance() as u64,
        max_response_len: SENSE_CAPACITY as u32,
        response: sense.as_mut_ptr().expose_provenance() as u64,
        timeout: timeout_ms,
        ..SgIoV4::default()
    };
    let length = u32::try_from(data.len()).map_err(|_| io::Errno::INVAL)?;
    match data {
        Data::In(buffer) if length != 0 => {
            header.din_xfer_len = length;
            header.din_xferp = buffer.as_mut_ptr().expose_provenance() as u64;
        }
        Data::Out(buffer) if length != 0 => {
            header.dout_xfer_len = length;
            header.dout_xferp = buffer.as_ptr().expose_provenance() as u64;
        }
        _ => {}
    }
    let outbound = header.dout_xfer_len != 0;
    // SAFETY: SG_IO on a bsg node takes `struct sg_io_v4`, which `SgIoV4` is field by field (size
    // asserted above), and writes its output fields back. `request`, `response` and `din_xferp` or
    // `dout_xferp` are the addresses of `cdb`, `sense` and the data buffer, with their lengths; the
    // two that the kernel writes to are exclusively borrowed, and all live until the call, which no
    // signal cuts short, has returned.
    unsafe { ioctl::ioctl(fd, ioctl::Updater::<SG_IO, SgIoV4>::new(&mut header))? };
    Ok(Completion {
        // bsg has 32 bits for each; the kernel puts one byte there.
        status: header.device_status.to_le_bytes()[0],
        host: u16::try_from(header.transport_status).unwrap_or(u16::MAX),
        driver: u16::try_from(header.driver_status).unwrap_or(u16::MAX),
        sense_length: usize::try_from(header.response_len).unwrap_or(usize::MAX),
        residual: if outbound { header.dout_resid } else { header.din_resid },
    })
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// Offsets as a C compiler gives them for the structures of the kernel's headers.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn fields_stand_where_the_kernel_looks_for_them() {
        assert_eq!(offset_of!(SgIoV3, dxferp), 16);
        assert_eq!(offset_of!(SgIoV3, cmdp), 24);
        assert_eq!(offset_of!(SgIoV3, sbp), 32);
        assert_eq!(offset_of!(SgIoV3, timeout), 40);
        assert_eq!(offset_of!(SgIoV3, usr_ptr), 56);
        assert_eq!(offset_of!(SgIoV3, status), 64);
        assert_eq!(offset_of!(SgIoV3, sb_len_wr), 67);
        assert_eq!(offset_of!(SgIoV3, host_status), 68);
        assert_eq!(offset_of!(SgIoV3, driver_status), 70);
        assert_eq!(offset_of!(SgIoV3, resid), 72);
        assert_eq!(offset_of!(SgIoV3, info), 80);

        assert_eq!(offset_of!(SgIoV4, request), 16);
        assert_eq!(offset_of!(SgIoV4, response), 48);
        assert_eq!(offset_of!(SgIoV4, dout_xfer_len), 60);
        assert_eq!(offset_of!(SgIoV4, din_xfer_len), 68);
        assert_eq!(offset_of!(SgIoV4, dout_xferp), 72);
        assert_eq!(offset_of!(SgIoV4, din_xferp), 80);
        assert_eq!(offset_of!(SgIoV4, timeout), 88);
        assert_eq!(offset_of!(SgIoV4, driver_status), 108);
        assert_eq!(offset_of!(SgIoV4, transport_status), 112);
        assert_eq!(offset_of!(SgIoV4, device_status), 116);
        assert_eq!(offset_of!(SgIoV4, response_len), 132);
        assert_eq!(offset_of!(SgIoV4, din_resid), 136);
        assert_eq!(offset_of!(SgIoV4, dout_resid), 140);
    }
}
