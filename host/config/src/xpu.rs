//! Looking up models and accelerators of the step-time model `xpu-roofline`.

use super::xpu_entries::{Xpu, XpuCatalog, XpuDtype, XpuModel};
use windtunnel_base::input::InputError;

impl XpuDtype {
    /// Bytes of an element.
    #[must_use]
    pub fn bytes(self) -> f64 {
        match self {
            Self::Fp32 => 4.0,
            Self::Fp16 | Self::Bf16 => 2.0,
            Self::Fp8 => 1.0,
        }
    }

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
        }
    }
}

impl XpuCatalog {
    /// The model of that name, in any case, and the name as the catalog spells it.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<(&str, &XpuModel)> {
        let (name, model) = self.models.get_key_value(&name.trim().to_lowercase())?;
        Some((name, model))
    }

    /// The accelerator of that name, in any case, and the name as the catalog spells it.
    ///
    /// # Errors
    /// When there is none: names all, the nearest first.
    pub fn xpu(&self, name: &str) -> Result<(&str, &Xpu), InputError> {
        let wanted = name.trim().to_lowercase();
        let is_it = |(key, xpu): &(&String, &Xpu)| {
            let mut names = xpu.spellings.iter().chain([*key]);
            names.any(|other| other.to_lowercase() == wanted)
        };
        match self.hardware.iter().find(is_it) {
            Some((key, xpu)) => Ok((key, xpu)),
            None => {
                let names: Vec<&str> = self.hardware.keys().map(String::as_str).collect();
                Err(InputError::unknown(
                    "accelerator of xpu-roofline",
                    name,
                    &names,
                ))
            }
        }
    }
}

impl Xpu {
    /// FLOP/s that products of matrices of this data type reach; `None` = nothing computes in it.
    #[must_use]
    pub fn flops(&self, dtype: XpuDtype) -> Option<f64> {
        let unit = self.units.iter().find(|u| u.dtypes.contains(&dtype))?;
        Some(unit.tflops * unit.efficiency * 1e12)
    }
}

#[cfg(test)]
mod tests {
    use crate::Defaults;

    #[test]
    fn accelerators_are_found_by_any_of_their_names() {
        let catalog = &Defaults::builtin().xpu;
        assert_eq!((catalog.models.len(), catalog.hardware.len()), (14, 6));
        assert_eq!(catalog.xpu("A100").unwrap().0, "a100-80gb");
        assert_eq!(catalog.xpu(" mi300x").unwrap().0, "mi300x");
        let error = catalog.xpu("mi300").unwrap_err().to_string();
        assert!(error.contains("did you mean \"mi300x\"?"), "{error}");
        assert_eq!(catalog.model("LLaMA2-7B").unwrap().0, "llama2-7b");
        assert!(catalog.model("llama2").is_none());
    }

    #[test]
    fn a_figure_that_makes_no_sense_names_its_entry() {
        let text = include_str!("../../../defaults.yaml");
        let error = |from: &str, to: &str| {
            assert!(text.contains(from));
            let text = text.replacen(from, to, 1);
            Defaults::parse("d.yaml", &text).unwrap_err().to_string()
        };
        let said = error("bandwidth_gb_s: 2039", "bandwidth_gb_s: -1");
        let expected = "d.yaml: xpu_roofline hardware a100-80gb: bandwidth_gb_s is -1; expected a \
                        finite number above 0";
        assert_eq!(said, expected);
        assert!(error("efficiency: 0.85", "efficiency: 1.5").contains("efficiency is 1.5"));
        assert!(error("spellings: [a100]", "spellings: [h100]").contains("called \"h100\""));
        assert!(error("dtype: bf16", "dtype: bf61").contains("bf16"));
    }
}
