//! JSON as Go's `encoding/json` writes it: two-space indent, integral floats without a fraction, an
//! exponent only below 1e-6 and from 1e21, `<`, `>` and `&` escaped.

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// Shortest decimal that reads back as `value`. Not finite: `null`.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "null".into();
    }
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

/// The formatter: indented, or everything on one line.
struct Go(Option<PrettyFormatter<'static>>);

macro_rules! delegate {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $arg: $type)*) -> io::Result<()> {
            match &mut self.0 {
                Some(pretty) => pretty.$name(writer $(, $arg)*),
                None => serde_json::ser::CompactFormatter.$name(writer $(, $arg)*),
            }
        }
    )*};
}

impl Formatter for Go {
    delegate! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(number(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&']) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", rest.as_bytes()[at])?;
            rest = &rest[at + 1..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Writes `value` indented by two spaces, without a final line break.
///
/// # Errors
/// When `out` fails.
pub fn write_pretty(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let go = Go(Some(PrettyFormatter::new()));
    value
        .serialize(&mut Serializer::with_formatter(out, go))
        .map_err(io::Error::from)
}

/// Writes `value` on one line, without a line break.
///
/// # Errors
/// When `out` fails.
pub fn write_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    value
        .serialize(&mut Serializer::with_formatter(out, Go(None)))
        .map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_like_gos() {
        for (value, text) in [
            (149.0, "149"),
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (303.386_633_333_333_35, "303.38663333333335"),
            (1e-6, "0.000001"),
            (9.5e-7, "9.5e-7"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn empty_and_nested_values_are_laid_out_like_gos() {
        let mut out = Vec::new();
        let value = serde_json::json!({"a": [], "b": {"c<d": 1.0}, "e": [1, 2.5]});
        write_pretty(&mut out, &value).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        {
          "a": [],
          "b": {
            "c\u003cd": 1
          },
          "e": [
            1,
            2.5
          ]
        }
        "#);
    }
}
