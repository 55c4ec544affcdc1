//! Tables by column, written as the ending of the file's name says: CSV, JSON, lines of JSON,
//! Parquet.

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use serde_json::{Map, Value};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use windtunnel_base::input::InputError;

/// A column of a table, absent values as `None`.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Words and names.
    Text(Vec<Option<String>>),
    /// Times in microseconds, tokens, counts.
    Whole(Vec<Option<i64>>),
    /// What is computed.
    Number(Vec<Option<f64>>),
}

impl Column {
    /// How many values it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Whole(values) => values.len(),
            Self::Number(values) => values.len(),
        }
    }

    fn value(&self, row: usize) -> Value {
        match self {
            Self::Text(values) => values[row].as_deref().into(),
            Self::Whole(values) => values[row].into(),
            Self::Number(values) => values[row].into(),
        }
    }
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An array of objects, one a line.
    Json,
    /// An object a line.
    JsonLines,
    /// A header line, then one line a row (RFC 4180).
    Csv,
    /// Apache Parquet, packed with Zstandard.
    Parquet,
}

impl Format {
    /// By the ending of the file's name, in any case.
    ///
    /// # Errors
    /// When it is none of `.csv`, `.json`, `.jsonl` and `.parquet`.
    pub fn of(path: &Path) -> Result<Self, InputError> {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match ending.to_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err(InputError::in_file(
                path.display(),
                "the file's name must end in .csv, .json, .jsonl or .parquet",
            )),
        }
    }
}

/// Writes a table of named columns, all of them equally long.
///
/// # Errors
/// When `out` fails.
pub fn write<N: AsRef<str>>(
    columns: &[(N, Column)],
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    let rows = columns.iter().map(|(_, column)| column.rows()).max();
    let rows = 0..rows.unwrap_or(0);
    let object = |row: usize| -> Value {
        let values = columns.iter();
        let values = values.map(|(name, column)| (name.as_ref().to_owned(), column.value(row)));
        values.collect::<Map<_, _>>().into()
    };
    match format {
        Format::Json => {
            out.write_all(b"[")?;
            for row in rows {
                out.write_all(if row == 0 { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut *out, &object(row))?;
            }
            out.write_all(b"\n]\n")
        }
        Format::JsonLines => {
            for row in rows {
                serde_json::to_writer(&mut *out, &object(row))?;
                out.write_all(b"\n")?;
            }
            Ok(())
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(columns.iter().map(|(name, _)| name.as_ref()))?;
            for row in rows {
                let cells = columns.iter().map(|(_, column)| match column.value(row) {
                    Value::Null => String::new(),
                    Value::String(text) => text,
                    other => other.to_string(),
                });
                csv.write_record(cells)?;
            }
            csv.flush()
        }
        Format::Parquet => {
            // Its writer wants to go to other threads with what it writes to.
            let file = parquet(columns).map_err(io::Error::other)?;
            out.write_all(&file)
        }
    }
}

/// Objects with the same keys as columns.
pub(super) fn of_objects(rows: &[Map<String, Value>]) -> Vec<(String, Column)> {
    let keys = rows.first().into_iter().flat_map(Map::keys);
    let column = |key: &String| {
        let values = || rows.iter().map(|row| row.get(key).filter(|v| !v.is_null()));
        if values().flatten().all(|v| v.as_i64().is_some()) {
            Column::Whole(values().map(|v| v?.as_i64()).collect())
        } else if values().flatten().all(Value::is_number) {
            Column::Number(values().map(|v| v?.as_f64()).collect())
        } else {
            let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            Column::Text(values().map(|v| v.map(text)).collect())
        }
    };
    keys.map(|key| (key.clone(), column(key))).collect()
}

fn parquet<N: AsRef<str>>(columns: &[(N, Column)]) -> Result<Vec<u8>, ParquetError> {
    let fields = columns.iter().map(|(name, column)| {
        let (physical, logical) = match column {
            Column::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Column::Whole(_) => (Physical::INT64, None),
            Column::Number(_) => (Physical::DOUBLE, None),
        };
        let field = Type::primitive_type_builder(name.as_ref(), physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        field.build().map(Arc::new)
    });
    let schema = Type::group_type_builder("schema").with_fields(fields.collect::<Result<_, _>>()?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut file =
        SerializedFileWriter::new(Vec::new(), Arc::new(schema.build()?), Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for (_, column) in columns {
        match column {
            Column::Text(values) => {
                let text = |value: &String| ByteArray::from(value.as_str());
                put::<ByteArrayType, _>(&mut group, values, text)?;
            }
            Column::Whole(values) => put::<Int64Type, _>(&mut group, values, |value| *value)?,
            Column::Number(values) => put::<DoubleType, _>(&mut group, values, |value| *value)?,
        }
    }
    group.close()?;
    file.into_inner()
}

/// Writes the next column.
fn put<D: DataType, V>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[Option<V>],
    of: impl Fn(&V) -> D::T,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("a column without a place".into()));
    };
    let present: Vec<D::T> = values.iter().flatten().map(of).collect();
    let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
    column
        .typed::<D>()
        .write_batch(&present, Some(&levels), None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    fn table() -> Vec<(&'static str, Column)> {
        vec![
            ("name", Column::Text(vec![Some("a,b".into()), None])),
            ("count", Column::Whole(vec![None, Some(7)])),
            ("share", Column::Number(vec![Some(0.5), Some(f64::NAN)])),
        ]
    }

    fn text(format: Format) -> String {
        let mut out = Vec::new();
        write(&table(), format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_in_three_texts() {
        assert_eq!(text(Format::Csv), "name,count,share\n\"a,b\",,0.5\n,7,\n");
        assert_eq!(
            text(Format::JsonLines),
            "{\"name\":\"a,b\",\"count\":null,\"share\":0.5}\n{\"name\":null,\"count\":7,\"share\":null}\n"
        );
        let json: Value = serde_json::from_str(&text(Format::Json)).unwrap();
        assert_eq!(json[1]["count"], 7);
    }

    #[test]
    fn parquet_gives_back_what_was_written() {
        let mut out = Vec::new();
        write(&table(), Format::Parquet, &mut out).unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(out)).unwrap();
        let rows: Vec<_> = reader
            .get_row_iter(None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].get_string(0).unwrap(), "a,b");
        assert_eq!(rows[1].get_long(1).unwrap(), 7);
        assert_eq!(rows[0].get_double(2).unwrap(), 0.5);
        assert!(rows[0].get_long(1).is_err(), "it is absent");
    }

    #[test]
    fn objects_become_columns_of_what_is_in_them() {
        let row = |text: &str| serde_json::from_str::<Map<_, _>>(text).unwrap();
        let rows = [
            row(r#"{"a": 1, "b": null, "c": "x"}"#),
            row(r#"{"a": 2, "b": 0.5, "c": null}"#),
        ];
        assert_eq!(
            of_objects(&rows),
            [
                ("a".to_owned(), Column::Whole(vec![Some(1), Some(2)])),
                ("b".to_owned(), Column::Number(vec![None, Some(0.5)])),
                ("c".to_owned(), Column::Text(vec![Some("x".into()), None])),
            ]
        );
    }
}
