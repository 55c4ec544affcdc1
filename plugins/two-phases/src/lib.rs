//! Prefills that do not hold up decodes: in the steps of an instance, and across instances.

mod policy;

pub use policy::{BusyDecode, StepTime};

windtunnel_plugin_api::export_plugin! {
    name: "two-phases";
    version: env!("CARGO_PKG_VERSION");

    /// Takes as many new tokens as keep a step in which somebody decodes within a time.
    batching "step-time" {
        /// Longest step in which somebody decodes, milliseconds.
        step_ms: 25.0 in 1.0..=1000.0;
        /// Prompt tokens that a step always has room for.
        least: 64 in 1..=8192, whole;
    } = StepTime::new;

    /// Sends a prompt to an instance that prefills if the one that decodes runs others and lacks
    /// much of it, as long as first tokens come in time.
    disaggregation "busy-decode" {
        /// Most new tokens that a busy instance computes itself.
        tokens: 256 in 0..=1000000, whole;
        /// Mean TTFT of late, milliseconds, beyond which prompts stay where they are decoded: more
        /// would not help instances that prefill and are behind.
        late_ms: 5000.0 in 0.0..=1000000.0;
    } = BusyDecode::new;
}

#[cfg(test)]
mod tests {
    use super::{BusyDecode, StepTime};
    use windtunnel_plugin_api::{
        Batching, ClusterView, Disaggregation, Event, EventKind, Host, InstanceView, QueueView,
        RequestView, Services, Setup, StepView,
    };

    fn setup<T>(params: &[(&str, f64)], make: impl FnOnce(&mut Setup<'_>) -> T) -> T {
        let params: Vec<_> = params.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        make(&mut Setup {
            params: &params,
            instances: 1,
            slots: 8,
            symbol: &mut |_| 0,
        })
    }

    /// A step lasts 10 us per prefilled token.
    struct TenPerToken;

    impl Services for TenPerToken {
        fn est_step_us(&self, prefill_tokens: u32, _: u32, _: u64) -> f64 {
            10.0 * f64::from(prefill_tokens)
        }
    }

    #[test]
    fn a_step_beside_decodes_is_as_long_as_it_may_be() {
        let made = setup(&[("step_ms", 5.0), ("least", 64.0)], StepTime::new);
        let mut policy = made.expect("made");
        let services: &dyn Services = &TenPerToken;
        let queue = QueueView {
            max_step_tokens: 2_000,
            host: Host::new(&services),
            ..QueueView::bare(0, &[], &[])
        };
        let mut tokens = |decoding| {
            let step = StepView {
                decoding,
                ..StepView::default()
            };
            policy.limits(&step, &queue).expect("limits").max_new_tokens
        };
        assert_eq!(tokens(0), 2_000);
        // 500 tokens of prompt, found to within 32.
        assert!((478..=510).contains(&tokens(10)), "{}", tokens(10));
    }

    #[test]
    fn only_a_busy_instance_sends_long_prompts_away() {
        let params = [("tokens", 256.0), ("late_ms", 50.0)];
        let mut policy = setup(&params, BusyDecode::new).expect("made");
        let elsewhere = |policy: &mut BusyDecode, prompt_tokens, batch_size| {
            let request = RequestView {
                prompt_tokens,
                ..RequestView::default()
            };
            let instances = [InstanceView {
                batch_size,
                ..InstanceView::default()
            }];
            let answer = policy.prefills_remotely(&request, 0, &ClusterView::bare(0, &instances));
            answer.expect("an answer")
        };
        assert!(!elsewhere(&mut policy, 300, 0) && !elsewhere(&mut policy, 256, 3));
        assert!(elsewhere(&mut policy, 257, 3));
        let first_token = |ttft_us| Event {
            kind: EventKind::FirstToken as u32,
            ttft_us,
            ..Event::default()
        };
        policy.on_event(&first_token(50_001)).expect("heard");
        assert!(!elsewhere(&mut policy, 257, 3));
        policy.on_event(&first_token(1_000)).expect("heard");
        assert!(elsewhere(&mut policy, 257, 3));
    }
}
