//! What a file can ask of all instances about the request at hand: a column of numbers each,
//! fetched when it is first asked for.

use windtunnel_plugin_api::{AdapterSignal, Host, Interests};

/// Something to ask about the request at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The method of an instance, and the column.
    pub(super) name: &'static str,
    /// What a policy declares that asks it.
    pub(super) reads: Interests,
    /// The method answers true or false.
    pub(super) is_truth: bool,
    /// Asks of the instances from position 0 on.
    pub(super) ask: fn(&Host<'_>, &mut [u32]),
}

/// All of them.
pub(super) const ASKED: [Asked; 5] = [
    Asked {
        name: "approximate_prefix_blocks",
        reads: Interests::APPROXIMATE_PREFIX,
        is_truth: false,
        ask: |host, out| host.prefix_blocks(false, out),
    },
    Asked {
        name: "precise_prefix_blocks",
        reads: Interests::PRECISE_PREFIX,
        is_truth: false,
        ask: |host, out| host.prefix_blocks(true, out),
    },
    Asked {
        name: "adapter_loaded",
        reads: Interests::ADAPTERS,
        is_truth: true,
        ask: |host, out| host.adapter_signal(AdapterSignal::Loaded, out),
    },
    Asked {
        name: "adapter_running",
        reads: Interests::ADAPTERS,
        is_truth: false,
        ask: |host, out| host.adapter_signal(AdapterSignal::Running, out),
    },
    Asked {
        name: "adapter_waiting",
        reads: Interests::ADAPTERS,
        is_truth: false,
        ask: |host, out| host.adapter_signal(AdapterSignal::Waiting, out),
    },
];

impl Asked {
    /// Its method in a file's binding, the `k`-th that the file mentions. The answers of all
    /// instances are fetched once for each call of a hook.
    pub(super) fn method(&self, k: usize) -> String {
        let Self { name, is_truth, .. } = self;
        let truth = if *is_truth { " ~= 0" } else { "" };
        format!(
            "function INST.{name}(inst)
    if inst == nil then
        error(\"{name} is a method: write inst:{name}(), with a colon\", 2)
    end
    if not call.{name} then
        fetch({k})
        call.{name} = true
    end
    return readf64(inbox, ASKED + 8 * N * {k} + 8 * (places[inst] - 1)){truth}
end
"
        )
    }
}

/// The answers for all instances.
pub(super) struct AskedColumn {
    values: Vec<u32>,
    bytes: Vec<u8>,
}

impl AskedColumn {
    pub(super) fn new(instances: u32) -> Self {
        let n = instances as usize;
        Self {
            values: vec![0; n],
            bytes: vec![0; 8 * n],
        }
    }

    /// As numbers in bytes, for the request at hand.
    pub(super) fn of(&mut self, host: &Host<'_>, asked: &Asked) -> &[u8] {
        (asked.ask)(host, &mut self.values);
        for (raw, value) in self.bytes.chunks_exact_mut(8).zip(&self.values) {
            raw.copy_from_slice(&f64::from(*value).to_le_bytes());
        }
        &self.bytes
    }
}
