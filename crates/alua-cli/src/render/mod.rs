//! How results are written: tables for people, JSON for programs.

pub(crate) mod json;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod wire;
