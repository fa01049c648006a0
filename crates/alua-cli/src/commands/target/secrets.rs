//! The secrets of CHAP, from a file: never from the command line, where everybody can read them.

use std::path::Path;

use alua_iscsi::{Account, Authentication, Secret};
use serde::Deserialize;

use crate::error::Error;

/// The shortest secret that is accepted, in bytes (RFC 7143, section 9.2.1).
const SHORTEST: usize = 12;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Discovery sessions must authenticate too.
    #[serde(default)]
    discovery: bool,
    #[serde(default)]
    account: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    initiator: Option<String>,
    name: String,
    secret: String,
    target_name: Option<String>,
    target_secret: Option<String>,
}

pub(super) fn read(path: &Path) -> Result<Authentication, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::File { path: path.to_path_buf(), source })?;
    parse(&text).map_err(|error| Error::Text(format!("{}: {error}", path.display())))
}

fn parse(text: &str) -> Result<Authentication, String> {
    // What toml says of an error quotes the line, and with it maybe a secret: only its words.
    let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if file.account.is_empty() {
        return Err("no [[account]]: nobody could log in".to_owned());
    }
    let accounts = file.account.into_iter().map(account).collect::<Result<_, _>>()?;
    let authentication = Authentication::default();
    Ok(Authentication { accounts, discovery: file.discovery, ..authentication })
}

fn account(entry: Entry) -> Result<Account, String> {
    let name = entry.name;
    if entry.secret.len() < SHORTEST {
        return Err(format!("the secret of {name:?} has fewer than {SHORTEST} bytes"));
    }
    let outgoing = match (entry.target_name, entry.target_secret) {
        (None, None) => None,
        (Some(_), Some(secret)) if secret.len() < SHORTEST => {
            return Err(format!("target_secret of {name:?} has fewer than {SHORTEST} bytes"));
        }
        (Some(_), Some(secret)) if secret == entry.secret => {
            return Err(format!("{name:?} has the same secret for both directions"));
        }
        (Some(name), Some(secret)) => Some(Secret { name, secret: secret.into_bytes() }),
        _ => return Err(format!("{name:?}: target_name and target_secret belong together")),
    };
    let incoming = Secret { name, secret: entry.secret.into_bytes() };
    Ok(Account { initiator: entry.initiator, incoming, outgoing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_and_bad_ones_refused() {
        let good = "[[account]]\nname = \"u\"\nsecret = \"0123456789ab\"\ntarget_name = \"t\"\n\
                    target_secret = \"ba9876543210\"\n";
        let read = parse(good).unwrap();
        assert_eq!(read.accounts.len(), 1);
        assert!(read.accounts[0].outgoing.is_some() && !read.discovery);
        for (wrong, says) in [
            ("", "nobody could log in"),
            ("[[account]]\nname = \"u\"\nsecret = \"short\"\n", "fewer than 12"),
            ("[[account]]\nname = \"u\"\nsecret = \"0123456789ab\"\ntarget_name = \"t\"\n", "both"),
            ("[[account]]\nname = \"u\"\n", "secret"),
        ] {
            let error = parse(wrong).unwrap_err();
            let belongs = error.contains("belong together");
            assert!(error.contains(says) || (says == "both" && belongs), "{error}");
        }
    }

    #[test]
    fn an_error_never_shows_a_secret() {
        let broken = "[[account]]\nname = \"u\"\nsecret = \"verysecretword\n";
        assert!(!parse(broken).unwrap_err().contains("verysecretword"));
        let same = "[[account]]\nname = \"u\"\nsecret = \"verysecretword\"\ntarget_name = \"t\"\n\
                    target_secret = \"verysecretword\"\n";
        assert!(!parse(same).unwrap_err().contains("verysecretword"));
    }
}
