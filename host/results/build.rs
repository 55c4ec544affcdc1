//! Packs the plotting library of pages: Plotly, out of its package, with gzip and in letters that
//! a page may hold.

#![allow(
    clippy::print_stdout,
    reason = "a build script speaks to Cargo on stdout"
)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let scripts = plotly::Plot::offline_js_sources();
    // The first script is Plotly, the second typesets formulas, of which pages have none.
    let library = scripts
        .split_once('>')
        .and_then(|(_, rest)| rest.split_once("</script>"))
        .map(|(library, _)| library)
        .filter(|library| library.contains("plotly.js v"))
        .ok_or("the package plotly has its script elsewhere now")?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(library.as_bytes())?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("Cargo sets OUT_DIR")?);
    fs::write(
        out.join("plotly.js.gz.base64"),
        STANDARD.encode(packed.finish()?),
    )?;
    Ok(())
}
