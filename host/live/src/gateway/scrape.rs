//! What servers say of themselves, read off their metrics.

use crate::prometheus::{MetricNames, samples};

/// What a server said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Requests that wait.
    pub waiting: f64,
    /// Requests in the batch.
    pub running: f64,
    /// Share of the KV blocks in use, 0 to 1.
    pub kv_usage: f64,
    /// Preemptions so far.
    pub preemptions: f64,
    /// Prompt tokens looked up in the prefix cache so far, and those that were there.
    pub prefix: Option<(f64, f64)>,
    /// Tokens of a KV block, and blocks in all, where it says so.
    pub kv: Option<(u32, u64)>,
    /// LoRA adapters of running requests, of waiting ones, and how many may be in a batch.
    pub adapters: Option<(Vec<String>, Vec<String>, u32)>,
}

/// Names of what must be there.
struct Names {
    waiting: &'static str,
    running: &'static str,
    kv_usage: &'static str,
    preemptions: Option<&'static str>,
    prefix: Option<[&'static str; 2]>,
}

const VLLM: Names = Names {
    waiting: "vllm:num_requests_waiting",
    running: "vllm:num_requests_running",
    kv_usage: "vllm:kv_cache_usage_perc",
    preemptions: Some("vllm:num_preemptions_total"),
    prefix: Some([
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
    ]),
};

const SGLANG: Names = Names {
    waiting: "sglang:num_queue_reqs",
    running: "sglang:num_running_reqs",
    kv_usage: "sglang:token_usage",
    preemptions: None,
    prefix: None,
};

impl Snapshot {
    /// Reads a page of metrics. A server of several engines is their sum.
    ///
    /// # Errors
    /// When one that must be there is not, by its name.
    pub fn read(page: &str, engine: MetricNames) -> Result<Self, String> {
        let names = match engine {
            MetricNames::Vllm => VLLM,
            MetricNames::Sglang => SGLANG,
        };
        let mut sums = [
            (names.waiting, 0.0, 0u32),
            (names.running, 0.0, 0),
            (names.kv_usage, 0.0, 0),
            (names.preemptions.unwrap_or(""), 0.0, 0),
            (names.prefix.map_or("", |p| p[0]), 0.0, 0),
            (names.prefix.map_or("", |p| p[1]), 0.0, 0),
        ];
        let mut snapshot = Self::default();
        let mut newest = f64::MIN;
        for sample in samples(page) {
            for (name, sum, count) in &mut sums {
                if sample.name == *name {
                    *sum += sample.value;
                    *count += 1;
                }
            }
            match sample.name {
                "vllm:cache_config_info" => {
                    let size = sample
                        .label("block_size")
                        .and_then(|text| text.parse().ok());
                    let blocks = sample
                        .label("num_gpu_blocks")
                        .and_then(|text| text.parse().ok());
                    snapshot.kv = size.zip(blocks).or(snapshot.kv);
                }
                // There is a sample for each state that ever was; the value is when.
                "vllm:lora_requests_info" if sample.value > newest => {
                    newest = sample.value;
                    let list = |label: &str| {
                        let all = sample.label(label).unwrap_or_default();
                        let names = all
                            .split(',')
                            .map(str::trim)
                            .filter(|name| !name.is_empty());
                        names.map(str::to_owned).collect::<Vec<_>>()
                    };
                    let most = sample.label("max_lora").and_then(|text| text.parse().ok());
                    snapshot.adapters = Some((
                        list("running_lora_adapters"),
                        list("waiting_lora_adapters"),
                        most.unwrap_or(0),
                    ));
                }
                _ => {}
            }
        }
        if let Some((name, ..)) = sums[..3].iter().find(|(_, _, count)| *count == 0) {
            return Err(format!("there is no metric {name}"));
        }
        let sum = |k: usize| (sums[k].2 > 0).then_some(sums[k].1);
        snapshot.waiting = sums[0].1;
        snapshot.running = sums[1].1;
        snapshot.kv_usage = (sums[2].1 / f64::from(sums[2].2)).clamp(0.0, 1.0);
        snapshot.preemptions = sum(3).unwrap_or(0.0);
        snapshot.prefix = sum(4).zip(sum(5));
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_vllm_is_read_and_what_is_missing_is_named() {
        let page = "vllm:num_requests_waiting{engine=\"0\"} 3.0\nvllm:num_requests_waiting{engine=\"1\"} 1.0\n\
            vllm:num_requests_running{engine=\"0\"} 2\nvllm:kv_cache_usage_perc{engine=\"0\"} 0.5\n\
            vllm:kv_cache_usage_perc{engine=\"1\"} 0.25\n\
            vllm:prefix_cache_queries_total{} 100\nvllm:prefix_cache_hits_total{} 40\n\
            vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"1000\",cache_dtype=\"auto\"} 1\n\
            vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"old\",waiting_lora_adapters=\"\"} 10\n\
            vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"a,b\",waiting_lora_adapters=\"c\"} 11\n";
        let snapshot = Snapshot::read(page, MetricNames::Vllm).unwrap();
        let names = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let expected = Snapshot {
            waiting: 4.0,
            running: 2.0,
            kv_usage: 0.375,
            preemptions: 0.0,
            prefix: Some((100.0, 40.0)),
            kv: Some((16, 1000)),
            adapters: Some((names("a,b"), names("c"), 4)),
        };
        assert_eq!(snapshot, expected);
        let error = Snapshot::read(page, MetricNames::Sglang).unwrap_err();
        assert_eq!(error, "there is no metric sglang:num_queue_reqs");
    }
}
