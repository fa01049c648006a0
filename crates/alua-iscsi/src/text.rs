//! Text segments: `key=value` pairs that end with NUL (RFC 7143, section 6.1).

/// The most bytes of the text of one negotiation step, over all PDUs that continue it.
pub const TEXT_MAX: usize = 64 << 10;
/// The most pairs in one text.
const PAIRS_MAX: usize = 256;
/// The most bytes of a key (RFC 7143, section 6.1).
const KEY_MAX: usize = 63;

/// What is wrong with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TextError {
    /// More than [`TEXT_MAX`] bytes.
    #[error("a text of more than {TEXT_MAX} bytes")]
    TooLong,
    /// More pairs than any negotiation has.
    #[error("more than {PAIRS_MAX} keys in one text")]
    TooManyPairs,
    /// A piece without `=`, or with a key that is none.
    #[error("text that is no key=value")]
    NoPair,
    /// Bytes that are no UTF-8.
    #[error("text that is no UTF-8")]
    NotUtf8,
}

/// The pairs of a text, in order.
///
/// # Errors
///
/// [`TextError`]; nothing of the text counts then.
pub fn pairs(text: &[u8]) -> Result<Vec<(&str, &str)>, TextError> {
    if text.len() > TEXT_MAX {
        return Err(TextError::TooLong);
    }
    let mut pairs = Vec::new();
    for piece in text.split(|&byte| byte == 0).filter(|piece| !piece.is_empty()) {
        let piece = std::str::from_utf8(piece).map_err(|_| TextError::NotUtf8)?;
        let (key, value) = piece.split_once('=').ok_or(TextError::NoPair)?;
        if key.is_empty() || key.len() > KEY_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(TextError::NoPair);
        }
        if pairs.len() == PAIRS_MAX {
            return Err(TextError::TooManyPairs);
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// Adds a pair to a text.
pub fn put(text: &mut Vec<u8>, key: &str, value: &str) {
    for part in [key, "=", value, "\0"] {
        text.extend_from_slice(part.as_bytes());
    }
}

/// A number in decimal, or in hex behind `0x` (RFC 7143, section 6.1: numerical values).
#[must_use]
pub fn number(value: &str) -> Option<u32> {
    let hex = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((value, 10), |digits| (digits, 16));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

/// Whether this is an iSCSI name (RFC 7143, section 4.2.7): `iqn.`, `eui.` or `naa.`, at most 223
/// bytes, letters, digits, `.`, `-` and `:`. Upper-case letters are let through, since initiators
/// send them.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let known = ["iqn.", "eui.", "naa."].iter().any(|prefix| name.starts_with(prefix));
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | ':' | '_');
    known && name.len() <= 223 && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_pairs() {
        let mut text = Vec::new();
        put(&mut text, "A", "1,2");
        put(&mut text, "B", "");
        text.extend_from_slice(&[0, 0]);
        assert_eq!(pairs(&text), Ok(vec![("A", "1,2"), ("B", "")]));
        assert_eq!(pairs(b"C=a=b"), Ok(vec![("C", "a=b")]));
        assert_eq!(pairs(b""), Ok(vec![]));
        assert_eq!(pairs(b"A"), Err(TextError::NoPair));
        assert_eq!(pairs(b"=1\0"), Err(TextError::NoPair));
        assert_eq!(pairs(b"A=\xff\0"), Err(TextError::NotUtf8));
        assert_eq!(pairs(&vec![b'a'; TEXT_MAX + 1]), Err(TextError::TooLong));
        assert_eq!(pairs(&b"A=1\0".repeat(257)), Err(TextError::TooManyPairs));
    }

    #[test]
    fn numbers_are_decimal_or_hex() {
        assert_eq!(number("262144"), Some(262_144));
        assert_eq!(number("0x40000"), Some(262_144));
        for wrong in ["", "0x", "+1", "-1", "1 ", "4294967296"] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn names_have_a_type_and_no_odd_characters() {
        assert!(is_name("iqn.1993-08.org.debian:01:abc"));
        assert!(!is_name("disk") && !is_name("iqn.a\nb") && !is_name("iqn.a,i,0x1"));
    }
}
