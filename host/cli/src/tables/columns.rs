//! Reading columns of a parquet file of measurements.

use super::packages::in_file;
use parquet::basic::Type as PhysicalType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::fs::File;
use std::path::Path;
use windtunnel_base::input::{InputError, unknown};

/// One measurement: the whole numbers and the texts that were asked for, and the time.
pub struct Measurement {
    pub numbers: Vec<u32>,
    pub texts: Vec<String>,
    pub us: f64,
}

/// Reads the measurements of a file: these columns of whole numbers, these of text (an optional one
/// is empty where the file has none of that name), and the latency.
pub fn read(
    path: &Path,
    numbers: &[&str],
    texts: &[&str],
    optional: &[&str],
) -> Result<Vec<Measurement>, InputError> {
    let refuse = |message: String| in_file(path, &message);
    let file = File::open(path).map_err(|e| refuse(e.to_string()))?;
    let reader = SerializedFileReader::new(file).map_err(|e| refuse(e.to_string()))?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let there: Vec<&str> = schema.columns().iter().map(|c| c.name()).collect();
    for name in numbers.iter().chain(texts).chain(&["latency"]) {
        if !there.contains(name) && !optional.contains(name) {
            return Err(refuse(unknown("column", name, &there)));
        }
    }
    if schema
        .columns()
        .iter()
        .any(|c| c.physical_type() == PhysicalType::INT96)
    {
        return Err(refuse("it has a column of 96-bit numbers".to_owned()));
    }
    let rows = reader
        .get_row_iter(None)
        .map_err(|e| refuse(e.to_string()))?;
    let mut measurements = Vec::new();
    for (i, row) in rows.enumerate() {
        let wrong = |message: String| refuse(format!("row {}: {message}", i + 1));
        let row = row.map_err(|e| wrong(e.to_string()))?;
        let field = |wanted: &str| {
            let mut columns = row.get_column_iter();
            columns.find_map(|(name, field)| (name == wanted).then_some(field))
        };
        let mut found = Measurement {
            numbers: Vec::with_capacity(numbers.len()),
            texts: Vec::with_capacity(texts.len()),
            us: f64::NAN,
        };
        for name in numbers {
            let number = field(name).map_or(Some(0), whole);
            let number = number.and_then(|n| u32::try_from(n).ok());
            found.numbers.push(number.ok_or_else(|| {
                let there = field(name).map(Field::to_string).unwrap_or_default();
                wrong(format!("{name}: expected a whole number, found {there}"))
            })?);
        }
        for name in texts {
            found.texts.push(match field(name) {
                Some(Field::Str(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            });
        }
        let ms = field("latency").and_then(number);
        let ms = ms.filter(|ms| ms.is_finite() && *ms > 0.0);
        found.us =
            1e3 * ms.ok_or_else(|| wrong("latency: expected milliseconds above 0".to_owned()))?;
        measurements.push(found);
    }
    Ok(measurements)
}

fn whole(field: &Field) -> Option<i64> {
    number(field).filter(|n| n.fract() == 0.0).map(|n| n as i64)
}

fn number(field: &Field) -> Option<f64> {
    Some(match field {
        Field::Byte(n) => f64::from(*n),
        Field::Short(n) => f64::from(*n),
        Field::Int(n) => f64::from(*n),
        Field::Long(n) => *n as f64,
        Field::UByte(n) => f64::from(*n),
        Field::UShort(n) => f64::from(*n),
        Field::UInt(n) => f64::from(*n),
        Field::ULong(n) => *n as f64,
        Field::Float(n) => f64::from(*n),
        Field::Double(n) => *n,
        _ => return None,
    })
}
