//! Text from elsewhere, fit for XML.

/// Characters of a text that are drawn.
const MOST: usize = 120;

/// The text with XML's own characters escaped, without those that XML 1.0 forbids, cut to a length
/// that fits.
pub(crate) fn escape(text: &str, most: usize) -> String {
    let most = most.min(MOST);
    let mut out = String::new();
    for (at, letter) in text.chars().enumerate() {
        if at == most {
            out.push('…');
            break;
        }
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

/// A time for people: as many digits as tell it.
pub(crate) fn duration(nanos: u64) -> String {
    match nanos {
        0 => "0".to_owned(),
        1..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{} µs", short(nanos as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", short(nanos as f64 / 1e6)),
        _ => format!("{} s", short(nanos as f64 / 1e9)),
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_would_read_is_escaped() {
        assert_eq!(escape("<a b=\"c\">&'", 48), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
        assert_eq!(escape("a\0b\u{1b}c\u{ffff}", 48), "a\u{fffd}b\u{fffd}c\u{fffd}");
    }

    #[test]
    fn long_text_is_cut_before_it_is_escaped() {
        assert_eq!(escape("&&&&", 2), "&amp;&amp;…");
        assert!(escape(&"ü".repeat(10_000), usize::MAX).chars().count() == MOST + 1);
    }

    #[test]
    fn durations_have_the_digits_that_tell_them() {
        let texts = [0, 999, 1_500, 20_000_000, 1_250_000_000].map(duration);
        assert_eq!(texts, ["0", "999 ns", "1.5 µs", "20 ms", "1.25 s"]);
    }
}
