use super::*;
use crate::shipped;

#[test]
fn the_shipped_files_are_right() {
    for shipped in shipped::ALL {
        let file = format!("{}.toml", shipped.name);
        if let Err(error) = Config::from_toml(&file, shipped.text) {
            panic!("{error}");
        }
    }
}
