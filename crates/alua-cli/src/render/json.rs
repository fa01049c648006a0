//! JSON on standard output.

use serde::Serialize;

use crate::error::Error;

/// The value as JSON, with a newline at the end.
pub(crate) fn text(value: &impl Serialize) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::Output(std::io::Error::other(error)))?;
    text.push('\n');
    Ok(text)
}

/// The value on one line, for streams of values.
pub(crate) fn line(value: &impl Serialize) -> Result<String, Error> {
    let mut text = serde_json::to_string(value)
        .map_err(|error| Error::Output(std::io::Error::other(error)))?;
    text.push('\n');
    Ok(text)
}
