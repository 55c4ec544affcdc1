//! Flags of XpuSim that none of ours stands for. Its others are other names of ours.

use super::effects::Explicit;
use clap::Args;
use windtunnel_base::input::InputError;
use windtunnel_sim::{RunSpec, XPUSIM_TP};

/// What XpuSim says of a cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "XpuSim's flags, with --engine xpusim")]
pub struct XpuSimArgs {
    /// One instance prefills and another one decodes: --prefill-instances 1 --decode-instances 1
    #[arg(long, hide_short_help = true, conflicts_with_all = ["prefill_instances", "decode_instances"])]
    pub disaggregated: bool,
    /// Accelerators that there are: at least --tp
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub n_xpus_per_node: Option<u32>,
    /// Accelerators that prefill: at least --prefill-tp
    #[arg(
        long,
        value_name = "N",
        hide_short_help = true,
        requires = "disaggregated"
    )]
    pub prefill_n_xpus: Option<u32>,
    /// Accelerators that decode: at least --decode-tp
    #[arg(
        long,
        value_name = "N",
        hide_short_help = true,
        requires = "disaggregated"
    )]
    pub decode_n_xpus: Option<u32>,
}

impl XpuSimArgs {
    /// Says it in the run.
    ///
    /// # Errors
    /// When the run follows other rules, or there are fewer accelerators than an instance takes.
    pub fn add(&self, run: &mut RunSpec, explicit: &Explicit) -> Result<(), InputError> {
        let names = [
            "disaggregated",
            "n_xpus_per_node",
            "prefill_n_xpus",
            "decode_n_xpus",
        ];
        explicit.reject_unless(&names, run.is_as_xpusim(), "without --engine xpusim")?;
        let d = &mut run.disaggregation;
        if self.disaggregated {
            (d.prefill_instances, d.decode_instances) = (Some(1), Some(1));
        }
        let [serve, prefill, decode] = XPUSIM_TP;
        let tp = run.pools[0].parallel.tensor.unwrap_or(serve);
        let prefill = d.prefill_tp.unwrap_or(prefill);
        let decode = d.decode_tp.unwrap_or(decode);
        for (flag, there, of, wanted) in [
            ("--n-xpus-per-node", self.n_xpus_per_node, "--tp", tp),
            (
                "--prefill-n-xpus",
                self.prefill_n_xpus,
                "--prefill-tp",
                prefill,
            ),
            ("--decode-n-xpus", self.decode_n_xpus, "--decode-tp", decode),
        ] {
            if let Some(there) = there.filter(|there| *there < wanted) {
                return Err(InputError::new(format!(
                    "{of} is {wanted}; expected at most {flag} {there}"
                )));
            }
        }
        Ok(())
    }
}
