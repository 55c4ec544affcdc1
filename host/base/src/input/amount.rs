//! Numbers with a letter for thousands and more.

/// What the letters behind a number stand for; in which case they are written does not matter.
const FACTORS: [(&str, f64); 4] = [("k", 1e3), ("m", 1e6), ("g", 1e9), ("b", 1e9)];

/// A number, which may have a `k`, `M`, `G` or `B` behind it: thousands, millions, billions;
/// `None` = it is none.
#[must_use]
pub fn amount(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(plain) = text.parse() {
        return Some(plain);
    }
    let lower = text.to_ascii_lowercase();
    let mut factors = FACTORS.iter();
    let (digits, factor) =
        factors.find_map(|(letter, factor)| Some((lower.strip_suffix(letter)?, factor)))?;
    // `infk` is none.
    let is_number = digits.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    let value: f64 = is_number.then(|| digits.parse().ok())??;
    Some(value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_factors() {
        for (text, value) in [
            ("7", 7.0),
            ("-0.5", -0.5),
            ("1e6", 1e6),
            ("10k", 1e4),
            ("2.5M", 2.5e6),
            ("3b", 3e9),
            ("1G", 1e9),
        ] {
            assert_eq!(amount(text), Some(value), "{text}");
        }
        for text in ["", "k", "10kk", "infk", "nank", "ten", "1 k", "200ms"] {
            assert_eq!(amount(text), None, "{text}");
        }
    }
}
