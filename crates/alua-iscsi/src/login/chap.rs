//! CHAP (RFC 1994, RFC 7143 section 12.1.3): who the initiator is, and in turn who we are.
//!
//! # Contract
//!
//! - Challenges come from the caller's entropy and are used once.
//! - Responses are compared in constant time; a secret never appears in `Debug`.
//! - A challenge that is our own one reflected, and a shared secret for both directions, are
//!   refused (RFC 7143, section 9.2.1).

use base64::Engine as _;
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha3::Sha3_256;
use subtle::ConstantTimeEq as _;

/// Bytes of a challenge of ours.
pub(crate) const CHALLENGE: usize = 16;
/// The most bytes of a challenge or response (RFC 7143, section 12.1.3).
const BINARY_MAX: usize = 1024;

/// A hash for CHAP, by its CHAP_A number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// 5.
    Md5,
    /// 6.
    Sha1,
    /// 7.
    Sha256,
    /// 8.
    Sha3,
}

impl Algorithm {
    /// All of them, the strongest first.
    pub const ALL: [Self; 4] = [Self::Sha3, Self::Sha256, Self::Sha1, Self::Md5];

    /// The number in CHAP_A.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Md5 => 5,
            Self::Sha1 => 6,
            Self::Sha256 => 7,
            Self::Sha3 => 8,
        }
    }

    /// The algorithm with that number.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// The response to a challenge.
    #[must_use]
    pub fn response(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        fn hash<D: md5::Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
            let mut hash = D::new();
            for part in parts {
                hash.update(part);
            }
            hash.finalize().to_vec()
        }
        let parts = [&[identifier], secret, challenge];
        match self {
            Self::Md5 => hash::<Md5>(parts),
            Self::Sha1 => hash::<Sha1>(parts),
            Self::Sha256 => hash::<Sha256>(parts),
            Self::Sha3 => hash::<Sha3_256>(parts),
        }
    }
}

/// A name with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// The CHAP name.
    pub name: String,
    /// The secret. RFC 7143 asks for at least 12 bytes without IPsec.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({:?}, ...)", self.name)
    }
}

/// Whether two byte strings are equal, in a time that does not depend on where they differ.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Binary text: hex behind `0x`, base64 behind `0b` (RFC 7143, section 6.1).
#[must_use]
pub fn binary(value: &str) -> Option<Vec<u8>> {
    if value.len() > 2 * BINARY_MAX + 2 {
        return None;
    }
    let (prefix, digits) = value.split_at_checked(2)?;
    match prefix {
        "0x" | "0X" => hex(digits),
        "0b" | "0B" => base64::engine::general_purpose::STANDARD.decode(digits).ok(),
        _ => None,
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    if digits.is_empty() {
        return None;
    }
    // An odd number of digits lacks a leading zero.
    let nibbles: Option<Vec<u8>> =
        digits.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    let mut nibbles = nibbles?;
    if !nibbles.len().is_multiple_of(2) {
        nibbles.insert(0, 0);
    }
    Some(nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// The hex form of bytes, with `0x`.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: Python's hashlib on `!secretchal`.
    #[test]
    fn responses_are_those_of_other_implementations() {
        let response = |algorithm: Algorithm| to_hex(&algorithm.response(b'!', b"secret", b"chal"));
        assert_eq!(response(Algorithm::Md5), MD5);
        assert_eq!(response(Algorithm::Sha1), SHA1);
        assert_eq!(response(Algorithm::Sha256), SHA256);
        assert_eq!(response(Algorithm::Sha3), SHA3);
    }

    const MD5: &str = "0xc0558a0431b7a9f913238d84ecbf0d3a";
    const SHA1: &str = "0xb7b7837af2180f8e1bb7d72b4d6898a6b971a966";
    const SHA256: &str = "0xcbe2996e3e76818c95fb34cb2139a3c9c1f46a9f4ffe9fa6d3bc718e3f6b680c";
    const SHA3: &str = "0x4a123bd7768415dc7f452dfce8269855fc632921d4b83530656f4f95a9d93bf6";

    #[test]
    fn binary_text_has_two_forms() {
        assert_eq!(binary("0x0aFF"), Some(vec![0x0a, 0xff]));
        assert_eq!(binary("0xaff"), Some(vec![0x0a, 0xff]));
        assert_eq!(binary("0bCv8="), Some(vec![0x0a, 0xff]));
        for wrong in ["", "0", "0x", "0xg0", "0b!", "10"] {
            assert_eq!(binary(wrong), None, "{wrong:?}");
        }
        assert_eq!(binary(&format!("0x{}", "0".repeat(3000))), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret { name: "n".to_owned(), secret: b"hidden".to_vec() };
        assert!(!format!("{secret:?}").contains("hidden"));
    }
}
