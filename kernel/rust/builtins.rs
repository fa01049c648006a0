//! Stands for `compiler_builtins`, which core asks for by name. The kernel has memcpy, memmove,
//! memset, memcmp and bcmp; nothing else of the real crate is needed, and the linker says so when
//! that changes.
#![feature(compiler_builtins, no_core)]
#![compiler_builtins]
#![no_std]
