//! What mixes tokens in a layer: attention of all kinds, and recurrent layers.

use super::attention::{Attention, DecodeAttention, PrefillAttention};
use super::latent::Remains;
use super::layers::{PROJECTIONS, Parts};
use super::part::{DELTA_NETS, LATENT, MeasuredTable, Measurement, Origin, WIDE, missing, none};
use super::recurrent::Recurrent;
use windtunnel_base::input::InputError;
use windtunnel_config::{KernelOp, KernelTable};

impl<'a> Parts<'a> {
    /// The attention of each kind of layer.
    pub(super) fn attention(&mut self) -> Result<Vec<Attention>, InputError> {
        if self.model.kv_lora_rank > 0 {
            return self.latent_attention();
        }
        let (heads, kv_heads) = self.heads();
        let width = self.model.head_width();
        let read = |op| self.of_width(op, width);
        let (decodes, scale) = read(KernelOp::DecodeAttention)?;
        let (prefills, _) = read(KernelOp::PrefillAttention)?;
        let tables = [&*decodes.table, &*prefills.table];
        let (attention, are_measured) =
            self.kinds_of_attention(tables, (heads, kv_heads), scale)?;
        let told = [decodes, prefills].map(|table| table.measurement());
        self.tell_attention(are_measured.map(|is| is && scale == 1.0), told);
        Ok(attention)
    }

    /// That of layers over compressed KV: what their products leave of whole layers.
    fn latent_attention(&mut self) -> Result<Vec<Attention>, InputError> {
        let (heads, _) = self.heads();
        let (gemms, bytes) = self.gemms(PROJECTIONS)?;
        let dtype = if bytes < 2.0 && gemms.measurement.dtype != WIDE {
            "fp8_block"
        } else {
            WIDE
        };
        let read = |op| missing(self.tables, op, self.kv_dtype, dtype);
        let decodes = read(KernelOp::DecodeLatentAttention)?;
        let prefills = read(KernelOp::PrefillLatentAttention)?;
        let product_us = |(n, k): (f64, f64), tokens: f64| {
            let gemm = gemms.gemm(n, k, bytes);
            gemm.map_or(0.0, |gemm| gemm.us(tokens))
        };
        let remains = Remains::of(&decodes.table, &prefills.table, heads, product_us);
        let remains = remains.ok_or_else(|| none(self.tables, LATENT, self.kv_dtype))?;
        let tables = [&remains.decode, &remains.prefill];
        let (attention, are_measured) = self.kinds_of_attention(tables, (heads, 1.0), 1.0)?;
        let layers: f64 = attention.iter().map(|kind| kind.layers).sum();
        self.attention_us = layers * remains.layer_us;
        let told = [decodes, prefills].map(|table| table.measurement());
        self.tell_attention(are_measured, told);
        Ok(attention)
    }

    /// Each kind of layer with what the tables of decodes and prefills have of so many query and KV
    /// heads, `scale` times; and whether that many were measured.
    fn kinds_of_attention(
        &self,
        [decodes, prefills]: [&KernelTable; 2],
        (heads, kv_heads): (f64, f64),
        scale: f64,
    ) -> Result<(Vec<Attention>, [bool; 2]), InputError> {
        let none = || none(self.tables, "attention", self.kv_dtype);
        let decode = DecodeAttention::new(decodes, heads, kv_heads);
        let (decode, decode_is_measured) = decode.ok_or_else(none)?;
        let prefill = PrefillAttention::new(prefills, heads, kv_heads);
        let (prefill, prefill_is_measured) = prefill.ok_or_else(none)?;
        let kinds = self.model.attention_layers().into_iter();
        let kinds = kinds.map(|kind| Attention {
            // Heads of another width read and compute in proportion to it.
            layers: kind.layers as f64 * scale,
            window: kind.window.map_or(f64::INFINITY, |tokens| tokens as f64),
            decode: decode.clone(),
            prefill: prefill.clone(),
        });
        Ok((kinds.collect(), [decode_is_measured, prefill_is_measured]))
    }

    fn tell_attention(&mut self, are_measured: [bool; 2], measurements: [Measurement; 2]) {
        let names = ["attention of decodes", "attention of prefills"];
        for ((name, is_measured), measurement) in
            names.into_iter().zip(are_measured).zip(measurements)
        {
            self.tell(name, Origin::of_shape(is_measured), Some(measurement));
        }
    }

    /// The recurrent layers, if there are any.
    pub(super) fn recurrent(&mut self) -> Result<Option<Recurrent>, InputError> {
        let Some(heads) = self.model.recurrent.and_then(|r| r.delta) else {
            return Ok(None);
        };
        let read = |op| -> Result<Vec<MeasuredTable<'_>>, InputError> {
            let kernels = ["convolution", "delta-rule"].into_iter();
            kernels
                .map(|kernel| missing(self.tables, op, WIDE, kernel))
                .collect()
        };
        let (decodes, prefills) = (
            read(KernelOp::DecodeDeltaNet)?,
            read(KernelOp::PrefillDeltaNet)?,
        );
        let tables = [&decodes, &prefills].map(|kernels| {
            let tables = kernels.iter().map(|kernel| &*kernel.table);
            tables.collect::<Vec<_>>()
        });
        let share = |heads: f64| (heads / self.tp).max(1.0);
        let heads = (share(heads.keys), share(heads.values));
        let recurrent = Recurrent::new(self.recurrent_layers(), [&tables[0], &tables[1]], heads);
        let (recurrent, is_measured) =
            recurrent.ok_or_else(|| none(self.tables, DELTA_NETS, WIDE))?;
        let names = ["delta nets of decodes", "delta nets of prefills"];
        for (name, kernels) in names.into_iter().zip([decodes, prefills]) {
            let rule = kernels.last().map(MeasuredTable::measurement);
            self.tell(name, Origin::of_shape(is_measured), rule);
        }
        Ok(Some(recurrent))
    }

    /// The table of heads of this width, or of the nearest one and what is to be multiplied.
    fn of_width(&self, op: KernelOp, width: u64) -> Result<(MeasuredTable<'a>, f64), InputError> {
        let widths = self.tables.tables().iter();
        let widths = widths.filter(|t| t.op == op && t.dtype == self.kv_dtype);
        let nearest = widths
            .filter_map(|table| table.variant.parse::<u64>().ok())
            .min_by_key(|there| there.abs_diff(width))
            .ok_or_else(|| none(self.tables, "attention", self.kv_dtype))?;
        let table = missing(self.tables, op, self.kv_dtype, &nearest.to_string())?;
        Ok((table, width as f64 / nearest as f64))
    }
}
