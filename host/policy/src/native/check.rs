//! What can be known about a file before it is loaded. The loader of the operating system maps a
//! damaged file without a word and the process dies when it touches what is not there, so the file
//! is read here first.

use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::FileHeader;
use object::{
    Architecture, BinaryFormat, Endianness, NameOrOrdinal, Object, ObjectKind, ObjectSegment,
};
use std::path::Path;
use windtunnel_base::input::{plain, read_bytes};
use windtunnel_plugin_api::abi::ROOT_SYMBOL;
use windtunnel_plugin_api::c::C_SYMBOL;

/// By which symbol a library is a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Rust,
    C,
}

/// Largest library that is read, bytes: one with debug information has some hundred million.
const LARGEST: u64 = 1 << 30;

/// Reads the library at `path` and finds its entry, and the names of the libraries that it needs.
///
/// # Errors
/// A sentence: no library, damaged, of another machine, not a plugin.
pub(super) fn file(path: &Path) -> Result<(Entry, Vec<String>), String> {
    let bytes = read_bytes(path, LARGEST).map_err(|e| format!("cannot read: {}", plain(&e)))?;
    Ok((entry(&bytes)?, needs(&bytes).unwrap_or_default()))
}

/// Names of the libraries that an ELF file needs; others say it in other ways.
fn needs(bytes: &[u8]) -> Option<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let (entries, link) = sections.dynamic(endian, bytes).ok()??;
    let strings = sections.strings(endian, bytes, link).ok()?;
    let needed = entries.iter().filter(|e| e.d_tag.get(endian) == DT_NEEDED);
    let names = needed.filter_map(|e| strings.get(e.d_val.get(endian).try_into().ok()?).ok());
    Some(
        names
            .map(|n| String::from_utf8_lossy(n).into_owned())
            .collect(),
    )
}

fn entry(bytes: &[u8]) -> Result<Entry, String> {
    let expected = "expected a shared library with policies (.so), or a .lua file";
    if bytes.is_empty() {
        return Err(format!("the file is empty; {expected}"));
    }
    let format = object::FileKind::parse(bytes)
        .map_err(|_| format!("the file is not a shared library; {expected}"))?;
    let damaged = |e: object::Error| {
        format!("the library is damaged or cut short ({e}): build or copy it again")
    };
    let library = object::File::parse(bytes).map_err(|e| match format {
        object::FileKind::Elf64 | object::FileKind::MachO64 | object::FileKind::Pe64 => damaged(e),
        other => format!("the file is a {other:?}, not a 64-bit shared library; {expected}"),
    })?;
    if library.architecture() != here() {
        return Err(format!(
            "the library is for {:?}, this machine is {:?}: build it for this machine",
            library.architecture(),
            here()
        ));
    }
    if library.kind() != ObjectKind::Dynamic {
        return Err(format!(
            "the file is {}, not a shared library; in Cargo.toml, expected crate-type = [\"cdylib\"]",
            match library.kind() {
                ObjectKind::Executable => "a program",
                ObjectKind::Relocatable => "an object file",
                _ => "something else",
            }
        ));
    }
    for segment in library.segments() {
        let (start, len) = segment.file_range();
        if start
            .checked_add(len)
            .is_none_or(|end| end > bytes.len() as u64)
        {
            return Err(format!(
                "the library is cut short: a part of it ends at byte {}, the file has {}: build or copy it again",
                start.saturating_add(len),
                bytes.len()
            ));
        }
    }
    let mut names = Vec::new();
    for export in library.exports().map_err(damaged)? {
        let export = export.map_err(damaged)?;
        if let NameOrOrdinal::Name(name) = export.name() {
            names.push(name.to_vec());
        }
    }
    // Symbols of Mach-O have an underscore in front.
    let lead = if library.format() == BinaryFormat::MachO {
        "_"
    } else {
        ""
    };
    let has = |name: &str| {
        let name = format!("{lead}{name}");
        names.iter().any(|n| n == name.as_bytes())
    };
    if has(ROOT_SYMBOL) {
        Ok(Entry::Rust)
    } else if has(C_SYMBOL) {
        Ok(Entry::C)
    } else {
        Err(format!(
            "the library is not a windtunnel plugin: it exports neither {ROOT_SYMBOL} (written by export_plugin!) nor {C_SYMBOL} (C)"
        ))
    }
}

/// The machine this program runs on.
fn here() -> Architecture {
    if cfg!(target_arch = "x86_64") {
        Architecture::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Architecture::Aarch64
    } else if cfg!(target_arch = "riscv64") {
        Architecture::Riscv64
    } else {
        Architecture::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_is_refused_with_what_it_is() {
        assert!(entry(b"").unwrap_err().contains("is empty"));
        let error = entry(b"return { route = nil }").unwrap_err();
        assert!(error.contains("not a shared library"), "{error}");
        let error = entry(b"\x7fELF").unwrap_err();
        assert!(error.contains("not a shared library"), "{error}");
        // The beginning of an ELF file of this machine, and nothing behind it.
        let me = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let error = entry(&me[..4096]).unwrap_err();
        assert!(error.contains("damaged or cut short"), "{error}");
        let error = entry(&me).unwrap_err();
        assert!(
            error.contains("neither WINDTUNNEL_PLUGIN_ROOT") || error.contains("program"),
            "{error}"
        );
        let mut other = me;
        other[18] = 0xf3; // e_machine: RISC-V
        let error = entry(&other).unwrap_err();
        assert!(error.contains("for Riscv64"), "{error}");
    }
}
