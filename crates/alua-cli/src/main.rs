//! The alua command.
fn main() {}
