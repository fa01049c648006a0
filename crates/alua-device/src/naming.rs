//! How the files of a unit are called: the mark for the next server, the control socket.

/// The name of a unit as it can stand in the name of a file. What is not a letter or digit of ASCII, a dot,
/// a hyphen, an underscore or a colon becomes an underscore, so that it is one file in one folder whatever
/// the device calls itself.
#[must_use]
pub fn file_name(unit: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    unit.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_folder() {
        assert_eq!(file_name("naa.6001405-a_b:c"), "naa.6001405-a_b:c");
        assert_eq!(file_name("t10.LIO-ORG x/../y\n\u{e4}"), "t10.LIO-ORG_x_.._y__");
    }
}
