//! Entry points that reach what is generic in alua-core; everything else in it is compiled in full
//! (`-C link-dead-code`) and looked at as it stands. See `xtask/src/panic_check.rs`.
#![no_std]

mod unit;
mod wire;

use core::panic::PanicInfo;

/// Stands for the kernel's `BUG()`. When nothing can panic, nothing refers to it, and the linker
/// leaves it out.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// An index that the caller may choose out of bounds: what the check must catch.
#[cfg(feature = "may-panic")]
#[unsafe(no_mangle)]
pub extern "C" fn probe_may_panic(index: usize) -> u8 {
    static DATA: [u8; 4] = [1, 2, 3, 4];
    DATA[core::hint::black_box(index)]
}

/// Keeps a reference to alua-core, so that it is linked.
#[unsafe(no_mangle)]
pub extern "C" fn probe_access_state(bits: u8) -> u8 {
    alua_core::access::AccessState::from_bits(bits).bits()
}
