//! Tests of the GPUs: names, spellings, files, and what their figures are.

use super::*;
use crate::Defaults;
use crate::entries::DefaultsFile;
use std::io::Write;

const SHIPPED: &str = include_str!("../../../hardware_config.json");
const OLD: &str = r#"{"H100": {"TFlopsPeak": 989.5, "BwPeakTBs": 3.35, "BwEffConstant": 0.72,
    "TOverheadMicros": 500.0, "perLayerOverhead": 20.0, "mfuPrefill": 0.65, "mfuDecode": 0.12, "allReduceLatency": 20.0}}"#;

fn builtin() -> &'static HardwareTable {
    &Defaults::builtin().hardware
}

/// A row of a hardware file.
fn row(name: &str, peak: f64, fp8: f64) -> String {
    format!(
        "\"{name}\": {{\"TFlopsPeak\": {peak}, \"TFlopsFP8\": {fp8}, \"BwPeakTBs\": 1, \"mfuPrefill\": 0.5, \
         \"mfuDecode\": 0.25, \"MemoryGiB\": 7}}"
    )
}

/// The built-in GPUs and those of a file with these rows.
fn with(rows: &[String]) -> HardwareTable {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{{{}}}", rows.join(", ")).unwrap();
    builtin().of_run(Some(file.path()), false).unwrap()
}

#[test]
fn both_ages_of_the_hardware_file_are_understood() {
    let table = HardwareTable::parse("new.json", SHIPPED).unwrap();
    let names: Vec<&str> = table.names().collect();
    assert_eq!(names, ["A100-80", "A100-SXM", "H100", "L40S"]);
    let (name, l40s) = table.find("l40s").unwrap();
    assert_eq!(name, "L40S");
    let expected = Hardware {
        tflops_peak: 362.05,
        tflops_fp8: 733.0,
        tflops_fp4: 0.0,
        bandwidth_tb_s: 0.864,
        mfu_prefill: 0.32,
        mfu_decode: 0.08,
        memory_gib: 48.0,
    };
    assert_eq!(*l40s, expected);
    let table = HardwareTable::parse("old.json", OLD).unwrap();
    let (_, h100) = table.find("H100").unwrap();
    assert_eq!((h100.mfu_prefill, h100.memory_gib), (0.65, 0.0));
}

#[test]
fn the_shipped_file_and_the_built_in_table_agree() {
    let file = HardwareTable::parse("hardware_config.json", SHIPPED).unwrap();
    for as_blis in [false, true] {
        let file = file.of_run(None, as_blis).unwrap();
        let builtin = builtin().of_run(None, as_blis).unwrap();
        for name in file.names() {
            let (same, figures) = builtin.find(name).unwrap();
            assert_eq!((same, Some((name, figures))), (name, file.find(name)));
        }
    }
    assert!(builtin().same_gpu("a100-80", "A100-SXM"));
    assert!(builtin().same_gpu("NVIDIA A100-SXM4-80GB", "A100-80"));
    assert!(!builtin().same_gpu("H100", "A100-SXM"));
    assert!(!builtin().same_gpu("A100-40", "A100-80"));
}

#[test]
fn a_peak_with_sparsity_counts_half_but_for_the_reference() {
    let fp8 = |table: &HardwareTable| table.find("L40S").unwrap().1.tflops_fp8;
    assert_eq!(fp8(builtin()), 733.0);
    assert_eq!(fp8(&builtin().of_run(None, true).unwrap()), 1466.0);
    let file = HardwareTable::parse("hw.json", SHIPPED).unwrap();
    assert_eq!(fp8(&file), 733.0);
    assert_eq!(
        file.notes("L40S"),
        [
            "the file's FP8 peak of L40S, 1466 TFLOP/s, is 4.0 times its 16-bit peak: that is the figure with sparsity; \
             half of it, 733, counts"
        ]
    );
    assert!(file.notes("H100").is_empty());
    let exact = file.of_run(None, true).unwrap();
    assert_eq!(fp8(&exact), 1466.0);
    assert!(exact.notes("L40S").is_empty());
    // Of 16-bit peaks only a known GPU's can be doubted.
    let doubted = with(&[row("H200", 1979.0, 3958.0), row("New", 1979.0, 3958.0)]);
    assert!(doubted.notes("H200")[0].contains("twice the built-in one, 989.5"));
    assert!(doubted.notes("New").is_empty());
}

#[test]
fn gpus_are_known_by_the_names_that_people_write() {
    for (written, name) in [
        ("h100", "H100"),
        ("h100-sxm", "H100"),
        ("H100_SXM5", "H100"),
        ("nvidia-h100-80gb-hbm3", "H100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA-H100-PCIe", "H100-PCIe"),
        ("NVIDIA H100 NVL", "H100-NVL"),
        ("nvidia-h200", "H200"),
        ("nvidia-h200-141gb", "H200"),
        ("NVIDIA-B200", "B200"),
        ("gb200_nvl72", "GB200"),
        ("NVIDIA B300 SXM6 AC", "B300"),
        ("a100-80", "A100-80"),
        ("a100-sxm", "A100-SXM"),
        ("NVIDIA-A100-SXM4-80GB", "A100-SXM"),
        ("nvidia-a100-80gb", "A100-SXM"),
        ("nvidia-tesla-a100-40gb", "A100-40"),
        ("NVIDIA-A100-PCIE-40GB", "A100-40"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIe"),
        ("nvidia-l40s", "L40S"),
        ("nvidia-l4", "L4"),
        ("NVIDIA A10G", "A10G"),
        (
            "NVIDIA RTX PRO 6000 Blackwell Server Edition",
            "RTX-PRO-6000",
        ),
        ("AMD Instinct MI300X OAM", "MI300X"),
        ("amd-mi325x", "MI325X"),
        ("tpu-v5-lite-podslice", "TPU-v5e"),
        ("Trillium", "TPU-v6e"),
        ("tpu7x", "TPU-v7"),
    ] {
        let found = builtin().find(written).map(|(name, _)| name);
        assert_eq!(found, Some(name), "{written}");
    }
    // Which of three is meant cannot be known.
    assert_eq!(builtin().find("A100"), None);
}

#[test]
fn an_unknown_gpu_names_the_nearest_and_how_to_add_one() {
    let error = |gpu: &str| {
        let found = builtin().known(gpu, ["Own-1"].into_iter());
        found.unwrap_err().to_string()
    };
    assert!(
        error("H110").starts_with("unknown GPU \"H110\"; did you mean \"H100\"? valid: A100-40,")
    );
    assert!(error("nvidia-h100-sxn5").contains("did you mean \"H100\"?"));
    assert!(error("MI300").contains("did you mean \"MI300X\"?"));
    assert!(error("quantum").starts_with("unknown GPU \"quantum\"; valid: A100-40,"));
    let which = "did you mean \"A100-40\", \"A100-80\", \"A100-PCIe\" or \"A100-SXM\"? valid: ";
    assert!(error("nvidia-a100").contains(which));
    let text = error("H110");
    assert!(text.contains(", Own-1, "), "{text}");
    assert!(text.ends_with("For any other give `hardware_config`, a JSON file with its figures"));
    let known = builtin().known("own_1", ["Own-1"].into_iter()).unwrap();
    assert_eq!(known, "Own-1");
}

#[test]
fn a_file_adds_to_the_built_in_gpus_and_its_rows_win() {
    let table = with(&[row("Mine", 10.0, 0.0), row("h200-sxm", 900.0, 1800.0)]);
    assert_eq!(table.find("mine").unwrap().1.memory_gib, 7.0);
    assert_eq!(table.find("H100"), builtin().find("H100"));
    let (name, h200) = table.find("H200").unwrap();
    assert_eq!((name, h200.tflops_peak), ("H200", 900.0));
    assert_eq!(table.find("nvidia-h200"), Some((name, h200)));
    // It has its own utilisations now.
    assert_eq!(table.mfu_from("H200"), None);
    assert_eq!(table.mfu_from("H200-NVL"), Some("H100"));
}

#[test]
fn a_row_for_one_name_of_a_gpu_counts_for_its_other_names() {
    let peak = |table: &HardwareTable, gpu: &str| table.find(gpu).unwrap().1.tflops_peak;
    for one in ["A100-80", "A100-SXM", "nvidia-a100-sxm4-80gb"] {
        let table = with(&[row(one, 300.0, 0.0)]);
        assert_eq!(peak(&table, "A100-80"), 300.0, "{one}");
        assert_eq!(peak(&table, "A100-SXM"), 300.0, "{one}");
        assert_eq!(peak(&table, "A100-40"), 312.0, "{one}");
        assert!(table.same_gpu("A100-80", "A100-SXM"));
    }
    let both = with(&[row("A100-80", 300.0, 0.0), row("A100-SXM", 310.0, 0.0)]);
    assert_eq!(peak(&both, "A100-80"), 300.0);
    assert_eq!(peak(&both, "A100-SXM"), 310.0);
    let exact = with(&[row("H100", 1.0, 0.0), row("H100-SXM", 2.0, 0.0)]);
    assert_eq!(peak(&exact, "H100"), 1.0);
}

#[test]
fn a_misspelt_key_and_a_senseless_figure_are_refused_with_their_place() {
    let text = "{\"H100\": {\n  \"TFlopsPeek\": 1}}";
    let error = HardwareTable::parse("hw.json", text)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("hw.json:2:"), "{error}");
    assert!(error.contains("did you mean \"TFlopsPeak\"?"), "{error}");
    assert!(!error.contains("_comment"), "{error}");
    let error = HardwareTable::parse("hw.json", &OLD.replace("3.35", "-1"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "hw.json: GPU H100: memory bandwidth is -1; expected a finite number above 0"
    );
    assert!(HardwareTable::parse("hw.json", "{}").is_err());
    let twice = format!("{{{}, {}}}", row("X-1", 1.0, 0.0), row("x1", 1.0, 0.0));
    let error = HardwareTable::parse("hw.json", &twice).unwrap_err();
    assert_eq!(
        error.to_string(),
        "hw.json: x1 and X-1 are one GPU; keep one row"
    );
}

/// Peaks that vendors tell, dense: 16-bit, FP8, FP4; TB/s; GiB.
#[test]
fn figures_are_those_of_the_data_sheets() {
    for (gpu, expected) in [
        ("H100", [989.5, 1979.0, 0.0, 3.35, 80.0]),
        ("H100-PCIe", [756.0, 1513.0, 0.0, 2.0, 80.0]),
        ("H100-NVL", [1671.0 / 2.0, 3341.0 / 2.0, 0.0, 3.9, 94.0]),
        ("H200", [1979.0 / 2.0, 3958.0 / 2.0, 0.0, 4.8, 141.0]),
        (
            "B200",
            [
                36e3 / 16.0,
                72e3 / 16.0,
                72e3 / 8.0,
                64.0 / 8.0,
                1440.0 / 8.0,
            ],
        ),
        (
            "GB200",
            [
                360e3 / 144.0,
                720e3 / 144.0,
                1440e3 / 144.0,
                576.0 / 72.0,
                186.0,
            ],
        ),
        (
            "B300",
            [36e3 / 16.0, 72e3 / 16.0, 108e3 / 8.0, 64.0 / 8.0, 288.0],
        ),
        ("A100-80", [312.0, 0.0, 0.0, 2.039, 80.0]),
        ("A100-40", [312.0, 0.0, 0.0, 1.555, 40.0]),
        ("L40S", [362.05, 1466.0 / 2.0, 0.0, 0.864, 48.0]),
        ("L4", [242.0 / 2.0, 485.0 / 2.0, 0.0, 0.3, 24.0]),
        ("A10G", [70.0, 0.0, 0.0, 0.6, 24.0]),
        (
            "RTX-PRO-6000",
            [1e3 / 2.0, 2e3 / 2.0, 4e3 / 2.0, 1.597, 96.0],
        ),
        ("MI300X", [1307.4, 2614.9, 0.0, 5.3, 192.0]),
        ("MI325X", [1307.4, 2614.9, 0.0, 6.0, 256.0]),
        ("TPU-v5e", [197.0, 0.0, 0.0, 0.819, 16.0]),
        ("TPU-v6e", [918.0, 918.0, 0.0, 1.638, 32.0]),
        ("TPU-v7", [2307.0, 4614.0, 0.0, 7.38, 192.0]),
    ] {
        let (_, h) = builtin().find(gpu).unwrap();
        let found = [
            h.tflops_peak,
            h.tflops_fp8,
            h.tflops_fp4,
            h.bandwidth_tb_s,
            h.memory_gib,
        ];
        assert_eq!(found, expected, "{gpu}");
    }
}

#[test]
fn power_and_price_are_known_or_absent() {
    let upkeep = |gpu: &str| builtin().upkeep(gpu);
    let h100 = upkeep("nvidia-h100-80gb-hbm3");
    assert_eq!(
        (h100.tdp_w, h100.idle_w, h100.price()),
        (Some(700.0), None, Some(3.0))
    );
    assert_eq!(upkeep("A100-80"), upkeep("A100-SXM"));
    assert_eq!(upkeep("A100-SXM").price(), Some(1.3));
    assert_eq!(
        (upkeep("L4").tdp_w, upkeep("L4").price()),
        (Some(72.0), None)
    );
    for unknown in ["TPU-v6e", "A100-40", "nobody's"] {
        assert_eq!(upkeep(unknown), Upkeep::default(), "{unknown}");
    }
    // A row of a file keeps what it does not say; power comes from one of both.
    let told = |keys: &str| row("H100", 900.0, 0.0).replace("\"MemoryGiB\": 7", keys);
    assert_eq!(with(&[told("\"MemoryGiB\": 7")]).upkeep("h100"), h100);
    let file = with(&[told(
        "\"TDPWatts\": 500, \"IdleWatts\": 60, \"USDPerHour\": 2",
    )]);
    let expected = Upkeep {
        tdp_w: Some(500.0),
        idle_w: Some(60.0),
        usd_per_hour: Some([2.0; 2]),
    };
    assert_eq!(file.upkeep("H100"), expected);
    let error = |keys: &str| {
        let text = format!("{{{}}}", told(keys));
        HardwareTable::parse("hw.json", &text)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error("\"USDPerHour\": 0"),
        "hw.json: GPU H100: price is 0; expected a finite number above 0"
    );
    assert_eq!(
        error("\"IdleWatts\": 60"),
        "hw.json: GPU H100: idle power is 60 W; expected at most the power under load, which must be given, too"
    );
    let text = include_str!("../../../defaults.yaml").replace("[2.5, 3.5]", "[3.5, 2.5]");
    let error = crate::Defaults::parse("d.yaml", &text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "d.yaml: hardware H100: price is 3.5 to 2.5; expected the lowest before the highest"
    );
}

#[test]
fn every_row_has_a_source_and_dense_peaks_that_can_be() {
    let text = include_str!("../../../defaults.yaml");
    let file: DefaultsFile = windtunnel_base::input::parse_yaml("defaults.yaml", text).unwrap();
    for (gpu, entry) in file.hardware.iter().filter(|(_, e)| e.alias_of.is_none()) {
        assert!(entry.source.is_some(), "{gpu}");
        let h = entry.figures(gpu, &file.hardware).unwrap();
        assert!(h.tflops_fp8 <= 2.03 * h.tflops_peak, "{gpu}");
        assert!(h.tflops_fp4 <= 3.0 * h.tflops_fp8, "{gpu}");
        assert!(h.memory_gib > 0.0, "{gpu}");
        let ratio = h.tflops_peak / h.bandwidth_tb_s;
        assert!(
            (100.0..600.0).contains(&ratio),
            "{gpu}: {ratio} operations per byte"
        );
        let calibrated = ["H100", "A100-SXM", "L40S"].contains(&gpu.as_str());
        assert_eq!(entry.mfu_from.is_none(), calibrated, "{gpu}");
    }
    // Two rows that share a spelling would shadow each other.
    let mut seen = BTreeSet::new();
    for (gpu, entry) in &file.hardware {
        for spelling in entry.spellings.iter().chain([gpu]) {
            assert!(seen.insert(bare(spelling)), "{gpu}: {spelling}");
        }
    }
}

#[test]
fn the_reference_lists_every_gpu_with_its_figures() {
    let text = include_str!("../../../docs/reference/hardware.md");
    let table = builtin();
    let line = |name: &str| {
        text.lines()
            .find(|line| line.contains(&format!("`{name}`")) && line.starts_with("| `"))
    };
    for name in table.names() {
        let line = line(name).unwrap_or_else(|| panic!("{name} is missing"));
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (_, figures) = table.find(name).expect("it is in the table");
        let told = [
            figures.tflops_peak,
            figures.tflops_fp8,
            figures.tflops_fp4,
            figures.bandwidth_tb_s,
            figures.memory_gib,
        ];
        let told = told.map(|x| {
            if x == 0.0 {
                String::new()
            } else {
                x.to_string()
            }
        });
        assert_eq!(cells[2..7], told, "{name}");
        let from = table
            .mfu_from(name)
            .map_or("its own".to_owned(), |other| format!("`{other}`"));
        assert_eq!(cells[7], from, "{name}");
        let upkeep = table.upkeep(name);
        let watts = upkeep.tdp_w.map_or(String::new(), |w| w.to_string());
        let price = upkeep.usd_per_hour;
        let price = price.map_or(String::new(), |[low, high]| format!("{low:.2}-{high:.2}"));
        assert_eq!(cells[8..10], [watts, price], "{name}");
    }
}
