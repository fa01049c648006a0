//! What a scenario came to, as the guest writes it and the host reads it: one JSON object a line.

use serde::{Deserialize, Serialize};

/// The outcome of one scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// Every step did what the scenario says.
    pub passed: bool,
    /// How long it took in the guest, set-up and removal included, in milliseconds.
    pub millis: u64,
    /// How many facts were stated by `alua` and by somebody else, and were the same.
    pub agreed: usize,
    /// How long the first `alua list` took, in milliseconds.
    pub list_millis: u64,
    /// How many commands the first `alua list` sent, by its own word.
    pub list_commands: u64,
    /// What was wrong, in the order in which it was found.
    pub failures: Vec<String>,
    /// What could not be taken down again: the guest is of no further use.
    pub left_behind: Option<String>,
}
