//! The Rust half of `scsi_dh_alua_rs`, the kernel's device handler on `alua-core`.
//!
//! The C half ("the glue") owns locks, lifetimes, memory, work items, timers, command submission and
//! printing, and decides nothing. This half decides, and touches nothing of the kernel: it calls no
//! kernel function, allocates nothing and never sleeps. Everything crosses the border by value or
//! as a pointer to plain data ([`abi`]).
//!
//! | module | holds |
//! |---|---|
//! | [`abi`] | the structures and numbers of the border, the same as in `alua_rs.h` |
//! | [`map`] | the kernel's numbers and ours: results, dispositions, `SCSI_DH_*` |
//! | [`mod@unit`] | a logical unit in memory that C handed in, without unsafe code but for that |
//! | [`entry`] | the entry points |
//! | [`view`] | what debugfs shows |
//!
//! # Locks and contexts
//!
//! Every entry point that takes a unit is called with that unit's spinlock held and interrupts off,
//! or when nobody else knows the unit yet; each names its contexts. sysfs, dm, and the SCSI core's
//! scan, rescan and release call from process context; a timer and the end of a command that was sent
//! from work items; sense from where a command is completed, the hard or soft interrupt, the error
//! handler or process context. What an input brings about is carried out right behind it, in its
//! context: "any context" in what follows. So no two calls on one unit ever run at once, and no call
//! sleeps or waits. Those without a unit are pure functions, called from anywhere. What a call costs
//! is bounded by the numbers of groups and paths of the unit, and for a report by its length, at most
//! 64 KiB.
//!
//! # Without a kernel
//!
//! The same code builds as an ordinary crate: `cargo test -p alua-kernel` drives the entry points
//! the way the glue does.
#![no_std]

pub mod abi;
pub mod entry;
pub mod map;
pub mod unit;
pub mod view;

/// A panic cannot happen: the build fails when one is left in the object. The language asks for a
/// handler all the same.
#[cfg(kernel)]
#[panic_handler]
fn never(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
