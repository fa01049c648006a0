//! The entry points: raw pointers in, safe code behind them.
//!
//! # Safety
//!
//! The same holds for all of them, so it is said once.
//!
//! - `unit` comes from [`alua_rs_unit_init`] or [`alua_rs_unit_grow`], its block was not freed, and
//!   the caller holds the unit's lock, or nobody else knows the unit yet: nothing else uses the block
//!   during the call.
//! - A pointer with a length leads to that many readable bytes, or the length is 0.
//! - A pointer to a structure of [`crate::abi`] leads to one, writable where it is an answer; C
//!   reads only the answers of calls that gave something.

use alua_core::time::Time;
use alua_core::unit::{Group, Path};

use crate::abi::*;
use crate::unit::{self, Layout, Unit};

/// The bytes behind a pointer and a length from C.
///
/// # Safety
/// See the module; they stay as they are for `'a`.
unsafe fn bytes<'a>(start: *const u8, length: usize) -> &'a [u8] {
    if start.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise; lengths of the kernel's allocations are below isize::MAX.
    unsafe { core::slice::from_raw_parts(start, length) }
}

/// Free places for groups and paths in a block.
///
/// # Safety
/// `block` leads to `layout.bytes` writable bytes, aligned to 8, that nobody else uses, and that
/// live as long as the unit in them.
unsafe fn places(
    block: *mut u8,
    layout: Layout,
    groups: u16,
    paths: u16,
) -> (&'static mut [Group], &'static mut [Path]) {
    // SAFETY: `Layout::of` keeps the parts inside the block, apart from each other and aligned;
    // `write` makes each element valid before a reference to it exists. Nothing outside the unit
    // keeps the references, and the unit does not outlive the block.
    unsafe {
        let first_group = block.add(layout.groups).cast::<Group>();
        for index in 0..usize::from(groups) {
            first_group.add(index).write(Group::default());
        }
        let first_path = block.add(layout.paths).cast::<Path>();
        for index in 0..usize::from(paths) {
            first_path.add(index).write(Path::default());
        }
        (
            core::slice::from_raw_parts_mut(first_group, groups.into()),
            core::slice::from_raw_parts_mut(first_path, paths.into()),
        )
    }
}

/// Bytes of the block for a unit with so many places. No lock, any context; the glue calls from
/// process context, as a device is attached or rescanned, and from debugfs.
#[unsafe(no_mangle)]
pub extern "C" fn alua_rs_unit_bytes(groups: u16, paths: u16) -> usize {
    unit::bytes(groups, paths)
}

/// What a device says of itself. No lock, any context; the glue calls from process context, over
/// its own copy of the page.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_identify(
    page: *const u8,
    length: usize,
    device_type: u8,
    tpgs: u8,
    answer: *mut AluaIdentity,
) {
    // SAFETY: the caller's promise.
    unsafe { answer.write(unit::identify(bytes(page, length), device_type, tpgs)) }
}

/// Makes a unit without paths in a block of [`alua_rs_unit_bytes`] bytes, aligned to 8. No lock:
/// nobody else knows the block yet. Process context, as a device is attached or rescanned. False
/// where the number of places is impossible.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_unit_init(
    block: *mut u8,
    groups: u16,
    paths: u16,
    page: *const u8,
    length: usize,
    device_type: u8,
    tpgs: u8,
    config: *const AluaConfig,
) -> bool {
    let Some(layout) = Layout::of(groups, paths) else { return false };
    // SAFETY: the caller's promises; the block begins with room for a Unit (`Layout::of`).
    unsafe {
        let (groups, paths) = places(block, layout, groups, paths);
        let page = bytes(page, length);
        let config = *config;
        block.cast::<Unit>().write(Unit::new(page, (device_type, tpgs), &config, groups, paths));
    }
    true
}

// `alua_rs_unit_grow` and the glue's `kfree()` rest on it.
const _: () = assert!(!core::mem::needs_drop::<Unit>());

/// Moves a unit to a larger block. Unit lock held; process context, as a device is attached or
/// rescanned. The old block is to be freed after the call; false, and the unit still in the old
/// one, where the new one is not larger.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_unit_grow(
    unit: *mut Unit,
    block: *mut u8,
    groups: u16,
    paths: u16,
) -> bool {
    let Some(layout) = Layout::of(groups, paths) else { return false };
    // SAFETY: the caller's promises. The unit is copied bit by bit, not through the stack, and from
    // then on only the copy is used: nothing in it has a destructor. Its storage is still the old
    // block's until `go_over`, and both blocks live until after the call. Where the new block is
    // too small the copy is forgotten, and the unit in the old one is as it was.
    unsafe {
        let (groups, paths) = places(block, layout, groups, paths);
        let copy = block.cast::<Unit>();
        core::ptr::copy_nonoverlapping(unit, copy, 1);
        (*copy).go_over(groups, paths)
    }
}

/// Whether a device with this page belongs to the unit. Unit lock held; process context, as a
/// device is attached or rescanned.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_unit_is(
    unit: *const Unit,
    page: *const u8,
    length: usize,
) -> bool {
    // SAFETY: the caller's promises.
    unsafe { (*unit).is_named_in(bytes(page, length)) }
}

/// Adds a path; gives one of `ALUA_ADD_*`, and its place with `ALUA_ADD_OK`. Unit lock held;
/// process context, as a device is attached or rescanned.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_path_add(
    unit: *mut Unit,
    page: *const u8,
    length: usize,
    now: u64,
    place: *mut u16,
) -> i32 {
    // SAFETY: the caller's promises.
    unsafe {
        match (*unit).add(bytes(page, length), Time::from_millis(now)) {
            Ok(number) => {
                place.write(number);
                ALUA_ADD_OK
            }
            Err(why) => why,
        }
    }
}

/// Removes a path. Commands on it keep their slots until they are completed. Unit lock held;
/// process context, as a device goes or moves to another unit.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_path_remove(unit: *mut Unit, place: u16, now: u64) {
    // SAFETY: the caller's promises.
    unsafe { (*unit).remove(place, Time::from_millis(now)) }
}

/// A device was rescanned; gives one of `ALUA_RESCAN_*`. Unit lock held; process context.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_path_rescan(
    unit: *mut Unit,
    place: u16,
    device_type: u8,
    tpgs: u8,
    page: *const u8,
    length: usize,
    now: u64,
) -> i32 {
    // SAFETY: the caller's promises.
    unsafe {
        let page = bytes(page, length);
        (*unit).rescan(place, (device_type, tpgs), page, Time::from_millis(now))
    }
}

/// Whether some sense is a matter of ours at all. No lock, any context.
#[unsafe(no_mangle)]
pub extern "C" fn alua_rs_sense_matters(key: u8, asc: u8, ascq: u8) -> bool {
    unit::sense_matters(key, asc, ascq)
}

/// A command on the path met this sense; gives an `enum scsi_disposition`. Unit lock held; hard or
/// soft interrupt, error handler or process context.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_sense(
    unit: *mut Unit,
    place: u16,
    key: u8,
    asc: u8,
    ascq: u8,
    now: u64,
) -> i32 {
    // SAFETY: the caller's promises.
    unsafe { (*unit).sense(place, (key, asc, ascq), Time::from_millis(now)) }
}

/// The next command to send; false without one. To be called until it is false. Unit lock held; any
/// context, that of the input before it.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_poll_command(
    unit: *mut Unit,
    now: u64,
    command: *mut AluaCommand,
) -> bool {
    // SAFETY: the caller's promises.
    unsafe {
        let Some(next) = (*unit).poll_command(Time::from_millis(now)) else { return false };
        command.write(next);
    }
    true
}

/// What became of the command in a slot: `result` is as of `scsi_execute_cmd`. Unit lock
/// held; in the work item that sent it, or where the path cannot carry it in any context.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_complete(
    unit: *mut Unit,
    slot: u8,
    result: i32,
    sense: *const u8,
    sense_length: usize,
    data: *const u8,
    length: usize,
    now: u64,
) {
    // SAFETY: the caller's promises.
    unsafe {
        let (sense, data) = (bytes(sense, sense_length), bytes(data, length));
        (*unit).complete(slot, result, sense, data, Time::from_millis(now));
    }
}

/// The next event; false without one. To be called until it is false. Unit lock held; any context.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_poll_event(unit: *mut Unit, event: *mut AluaEvent) -> bool {
    // SAFETY: the caller's promises.
    unsafe {
        let Some(next) = (*unit).poll_event() else { return false };
        event.write(next);
    }
    true
}

/// Milliseconds until the unit must be polled again; false where only an input or a completion
/// brings something new. Unit lock held; any context.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_delay(unit: *mut Unit, now: u64, delay: *mut u64) -> bool {
    // SAFETY: the caller's promises.
    unsafe {
        let Some(wait) = (*unit).delay(Time::from_millis(now)) else { return false };
        delay.write(wait);
    }
    true
}

/// Asks for the path's group to become active/optimized. Unit lock held; process context (dm,
/// sysfs), or where there was no room before any context.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_activate(
    unit: *mut Unit,
    place: u16,
    now: u64,
    answer: *mut AluaActivation,
) {
    // SAFETY: the caller's promises.
    unsafe { answer.write((*unit).activate(place, Time::from_millis(now))) }
}

/// Sets or clears the `optimize_stpg` rule of a unit. Unit lock held; process context (dm).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_set_optimize(unit: *mut Unit, optimize: bool) {
    // SAFETY: the caller's promises.
    unsafe { (*unit).set_optimize(optimize) }
}
