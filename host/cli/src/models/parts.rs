//! Where the time of each part of a step comes from, with measured kernels.

use serde_json::{Value, json};
use windtunnel_engine::latency::{Resolved, StepPart};
use windtunnel_results::report::table::styled;

/// The widest that the table gets.
const WIDTH: u16 = 80;

/// The parts as a person reads them; empty where a step is not made of kernels.
pub fn text(r: &Resolved) -> String {
    let Some(kernels) = &r.kernels else {
        return String::new();
    };
    let mut table = styled(&["Part of a step", "Time is", "From"]);
    table.set_width(WIDTH);
    for part in kernels.parts() {
        table.add_row([
            part.name.to_owned(),
            part.origin.name().to_owned(),
            from(part),
        ]);
    }
    let mut packages: Vec<&str> = kernels
        .parts()
        .iter()
        .filter_map(|part| Some(part.measurement.as_ref()?.package.as_str()))
        .collect();
    packages.sort_unstable();
    packages.dedup();
    let packages = packages.join(", ");
    format!(
        "\nWhere the time of a step comes from. Measured: kernels of this shape. Neighbours:\n\
         as efficient, relative to a roofline, as measured kernels of other shapes.\n\
         Fitted: constants from measured servers. Computed: bytes and arithmetic.\n{table}\n\
         Packages: {packages};\n\"windtunnel tables show\" has their files.\n"
    )
}

fn from(part: &StepPart) -> String {
    let Some(m) = &part.measurement else {
        return part.figures.clone();
    };
    let variant = match m.variant.as_str() {
        "" => String::new(),
        variant => format!(" {variant}"),
    };
    format!("{} {}{variant}, {}", m.kernels, m.dtype, m.engine)
}

/// The parts for machines; null where a step is not made of kernels.
pub fn json(r: &Resolved) -> Value {
    let Some(kernels) = &r.kernels else {
        return Value::Null;
    };
    let part = |part: &StepPart| {
        let measured = part.measurement.as_ref().map(|m| {
            json!({
                "operation": m.op,
                "data_type": m.dtype,
                "variant": m.variant,
                "kernels": m.kernels,
                "engine": m.engine,
                "package": m.package,
            })
        });
        json!({
            "part": part.name,
            "time_is": part.origin.name(),
            "measured": measured,
            "figures": (!part.figures.is_empty()).then_some(&part.figures),
        })
    };
    kernels.parts().iter().map(part).collect()
}
