//! Pure: filter values that are regular expressions, as Docker's name filters of networks are.

use regex::bytes::RegexBuilder;

/// Bytes of a compiled expression: names are short, and whoever may ask may ask often.
const COMPILED_BYTES_MAX: usize = 1 << 16;

/// True if the expression matches a part of the text; one that cannot be read matches nothing.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    if text.contains(pattern) {
        return true;
    }
    let compiled = RegexBuilder::new(pattern).unicode(false).size_limit(COMPILED_BYTES_MAX).build();
    compiled.is_ok_and(|regex| regex.is_match(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_enough_unless_the_ends_are_tied() {
        for pattern in ["over", "^dca", "lay$", "^dca-overlay$", "d.*y", "x|over", "[cd]ca", ""] {
            assert!(fits(pattern, "dca-overlay"), "{pattern}");
        }
        for pattern in ["^over$", "^overlay", "dca$", "x", "[", "(over", "a{1000}{1000}"] {
            assert!(!fits(pattern, "dca-overlay"), "{pattern}");
        }
    }
}
