//! Opening files as text, however they are packed: gzip and zstd are unpacked, UTF-16 becomes
//! UTF-8. All of it is recognised by the first bytes, never by the name.

use super::door::open_given;
use super::error::size;
use super::memory;
use encoding_rs_io::DecodeReaderBytes;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use zstd::stream::read::Decoder;

/// A file that is open for reading; its bytes are UTF-8 unless the file is no text at all.
pub type Opened = Box<dyn Read + Send>;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Of a frame that decoders leave out; `pzstd` begins its files with one.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// Packed in ways that are not read here: first bytes, and what they are called.
const STRANGERS: [(&[u8], &str); 7] = [
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"BZh", "a bzip2 archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x04\x22\x4d\x18", "an LZ4 archive"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3\0", "an SQLite database"),
];

/// What a file is by its first bytes, if it is packed in a way that is not read.
#[must_use]
pub fn packed_otherwise(head: &[u8]) -> Option<&'static str> {
    let found = STRANGERS.iter().find(|(magic, _)| head.starts_with(magic));
    found.map(|(_, name)| *name)
}

/// Opens a regular file, what the caller of this program has opened for it (`/dev/stdin`,
/// `/dev/fd/N`), or a text [in memory](super::InMemory). Where it is packed, reading on fails
/// after `most` unpacked bytes: a small file can hold any number of them.
///
/// # Errors
/// When the file cannot be opened, is no regular one, or its beginning is damaged.
pub fn open_text(path: &Path, most: u64) -> io::Result<Opened> {
    match memory::text_of(path) {
        Some(text) => decoded(Cursor::new(text), most),
        None => decoded(open_given(path)?, most),
    }
}

/// The same from any reader.
///
/// # Errors
/// As [`open_text`].
pub fn decoded(from: impl Read + Send + 'static, most: u64) -> io::Result<Opened> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let head = from.fill_buf()?;
    let zstd = head.starts_with(ZSTD)
        || (head.len() > 3 && head[0] & 0xf0 == 0x50 && head[1..].starts_with(ZSTD_SKIPPABLE));
    if head.starts_with(GZIP) {
        return as_utf8(Unpacked::new("gzip", MultiGzDecoder::new(from), most));
    }
    if zstd {
        return as_utf8(Unpacked::new("zstd", Decoder::with_buffer(from)?, most));
    }
    as_utf8(from)
}

/// UTF-16 by its byte order mark as UTF-8; everything else as it is, without such a mark.
fn as_utf8(mut from: impl Read + Send + 'static) -> io::Result<Opened> {
    let mut head = Vec::new();
    from.by_ref().take(4).read_to_end(&mut head)?;
    let utf16 = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    if head == b"\xff\xfe\0\0" || head == b"\0\0\xfe\xff" {
        return Err(io::Error::other(
            "it is UTF-32 text; UTF-8 and UTF-16 are read",
        ));
    }
    let head = match head.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => rest.to_vec(),
        None => head,
    };
    let whole = Cursor::new(head).chain(from);
    Ok(if utf16 {
        Box::new(DecodeReaderBytes::new(whole))
    } else {
        Box::new(whole)
    })
}

/// Unpacked bytes, not without end.
struct Unpacked<R> {
    kind: &'static str,
    from: R,
    most: u64,
    given: u64,
}

impl<R> Unpacked<R> {
    fn new(kind: &'static str, from: R, most: u64) -> Self {
        Self {
            kind,
            from,
            most,
            given: 0,
        }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into).map_err(|e| {
            if e.kind() == io::ErrorKind::Interrupted {
                return e;
            }
            io::Error::other(format!("its {} data are damaged: {e}", self.kind))
        })?;
        self.given += read as u64;
        if self.given > self.most {
            return Err(io::Error::other(format!(
                "unpacked from {} it is larger than {}",
                self.kind,
                size(self.most)
            )));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use std::io::Write;

    const TEXT: &str = "{\"a\": \"ä€😀\"}\n";

    fn read(bytes: Vec<u8>, most: u64) -> Result<String, String> {
        let mut text = String::new();
        let opened = decoded(Cursor::new(bytes), most);
        match opened.and_then(|mut from| from.read_to_string(&mut text)) {
            Ok(_) => Ok(text),
            Err(e) => Err(e.to_string()),
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
        packed.include_checksum(true).unwrap();
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn utf16(little: bool) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(TEXT.encode_utf16());
        let bytes = |u: u16| {
            if little {
                u.to_le_bytes()
            } else {
                u.to_be_bytes()
            }
        };
        units.flat_map(bytes).collect()
    }

    #[test]
    fn packed_and_utf_16_files_read_like_plain_ones() {
        let plain = TEXT.as_bytes();
        let twice = || format!("{TEXT}{TEXT}");
        let mut skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd".to_vec();
        skipped.extend(zstd(plain));
        for (bytes, text) in [
            (plain.to_vec(), TEXT.to_owned()),
            ([b"\xef\xbb\xbf", plain].concat(), TEXT.to_owned()),
            (utf16(true), TEXT.to_owned()),
            (utf16(false), TEXT.to_owned()),
            (gzip(plain), TEXT.to_owned()),
            (gzip(&utf16(true)), TEXT.to_owned()),
            ([gzip(plain), gzip(plain)].concat(), twice()),
            (zstd(plain), TEXT.to_owned()),
            (zstd(&utf16(false)), TEXT.to_owned()),
            ([zstd(plain), zstd(plain)].concat(), twice()),
            (skipped, TEXT.to_owned()),
            (Vec::new(), String::new()),
        ] {
            assert_eq!(
                read(bytes.clone(), 1 << 20).as_ref(),
                Ok(&text),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_small_file_cannot_unpack_without_end() {
        let zeros = vec![b' '; 1 << 20];
        for (packed, kind) in [(gzip(&zeros), "gzip"), (zstd(&zeros), "zstd")] {
            assert!(packed.len() < 1 << 16);
            assert_eq!(
                read(packed, 1 << 19).unwrap_err(),
                format!("unpacked from {kind} it is larger than 512 KiB")
            );
        }
        // What is not packed takes the room that it takes on disk.
        assert_eq!(read(zeros, 10).unwrap().len(), 1 << 20);
    }

    #[test]
    fn damage_is_told_and_never_read_as_an_end() {
        let text = TEXT.repeat(1000);
        for (packed, kind) in [
            (gzip(text.as_bytes()), "gzip"),
            (zstd(text.as_bytes()), "zstd"),
        ] {
            for cut in [5, packed.len() / 2, packed.len() - 1] {
                let error = read(packed[..cut].to_vec(), 1 << 30).unwrap_err();
                assert!(
                    error.contains(&format!("its {kind} data are damaged")),
                    "{error}"
                );
            }
            let mut wrong = packed.clone();
            // The last bytes are a checksum: of a gzip file with the length behind it.
            let at = packed.len() - if kind == "gzip" { 8 } else { 1 };
            wrong[at] ^= 1;
            assert!(read(wrong, 1 << 30).is_err(), "{kind}");
        }
        assert!(
            read(b"\xff\xfe\0\0a\0\0\0".to_vec(), 9)
                .unwrap_err()
                .contains("UTF-32")
        );
        assert_eq!(packed_otherwise(b"BZh91AY"), Some("a bzip2 archive"));
        assert_eq!(packed_otherwise(b"{"), None);
    }
}
