//! Fair scheduling of tenants: the Virtual Token Counter, as a compiled plugin.

mod policy;

pub use policy::VtcFair;

windtunnel_plugin_api::export_plugin! {
    name: "vtc-fair";
    version: env!("CARGO_PKG_VERSION");

    /// Serves the tenant that has been served least: tokens are counted per tenant, and whoever
    /// comes back is lifted to the others.
    scheduler "vtc-fair" {
        /// Price of a prompt token.
        input_weight: 1.0 in 0.0..=100.0;
        /// Price of an output token.
        output_weight: 2.0 in 0.0..=100.0;
    } = VtcFair::new;
}

#[cfg(test)]
mod tests {
    use super::VtcFair;
    use windtunnel_plugin_api::{
        Event, EventKind, QueueView, QueuedView, RequestView, RunningView, Scheduler, Setup,
    };

    fn policy() -> VtcFair {
        let params = [("input_weight".into(), 1.0), ("output_weight".into(), 2.0)];
        VtcFair::new(&mut Setup {
            params: &params,
            instances: 1,
            slots: 8,
            symbol: &mut |_| 0,
        })
        .expect("made")
    }

    fn request(serial: u64, tenant: u32, prompt_tokens: u32) -> RequestView {
        RequestView {
            serial,
            tenant,
            prompt_tokens,
            ..RequestView::default()
        }
    }

    /// Serials in the order in which they would be served; running requests with their output
    /// tokens.
    fn order(
        policy: &mut VtcFair,
        waiting: &[&RequestView],
        running: &[(&RequestView, u32)],
    ) -> Vec<u64> {
        let waiting: Vec<QueuedView<'_>> = waiting
            .iter()
            .map(|r| QueuedView {
                enqueued_us: r.serial as i64,
                ..QueuedView::of(r)
            })
            .collect();
        let running: Vec<RunningView<'_>> = running
            .iter()
            .map(|(r, output_tokens)| RunningView {
                output_tokens: *output_tokens,
                ..RunningView::of(r)
            })
            .collect();
        let queue = QueueView::bare(0, &waiting, &running);
        let mut keys = vec![f64::NAN; waiting.len()];
        policy.order_queue(&queue, &mut keys).expect("ordered");
        let mut ranked: Vec<(f64, u64)> = keys
            .iter()
            .zip(&waiting)
            .map(|(k, q)| (*k, q.request.serial))
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        ranked.into_iter().map(|(_, serial)| serial).collect()
    }

    #[test]
    fn a_flood_of_one_tenant_does_not_delay_another() {
        let mut vtc = policy();
        let flood: Vec<RequestView> = (0..4).map(|s| request(s, 1, 100)).collect();
        let other = request(4, 2, 50);
        let waiting: Vec<&RequestView> = flood.iter().chain([&other]).collect();
        // A tie at 0: tenant 1 was seen first. Then it is charged 100.
        assert_eq!(order(&mut vtc, &waiting, &[]), [0, 4, 1, 2, 3]);
        // Request 0 was taken and has two tokens: 100 + 4. The other is still at 0.
        let rest = &waiting[1..];
        assert_eq!(order(&mut vtc, rest, &[(&flood[0], 2)]), [4, 1, 2, 3]);
        // 10 more tokens, counted once; the other runs: 50 + 2 * 27 = 104 against 124.
        let running = [(&flood[0], 12), (&other, 27)];
        assert_eq!(order(&mut vtc, &waiting[1..4], &running), [1, 2, 3]);
        let counters = [1, 2].map(|tenant| vtc.counter(tenant));
        assert_eq!(counters, [Some(124.0), Some(104.0)]);
    }

    #[test]
    fn time_off_gives_no_credit() {
        let mut vtc = policy();
        let (a, b) = (request(0, 1, 1000), request(1, 1, 10));
        assert_eq!(order(&mut vtc, &[&a, &b], &[]), [0, 1]);
        // Tenant 2 comes when tenant 1 has 1000 and somebody waiting: it is lifted to 1000, where
        // tenant 1 was seen first.
        let c = request(2, 2, 10);
        assert_eq!(order(&mut vtc, &[&b, &c], &[(&a, 0)]), [1, 2]);
        // With nobody else waiting there is no lift.
        let d = request(3, 3, 10);
        assert_eq!(order(&mut vtc, &[&d], &[]), [3]);
        assert_eq!(vtc.counter(3), Some(0.0));
    }

    #[test]
    fn what_is_left_at_the_end_is_charged_once() {
        let mut vtc = policy();
        let a = request(0, 1, 10);
        order(&mut vtc, &[], &[(&a, 3)]);
        let end = |serial, output_tokens| Event {
            kind: EventKind::Complete as u32,
            serial,
            tenant: 1,
            prompt_tokens: 10,
            output_tokens,
            ..Event::default()
        };
        vtc.on_event(&end(0, 5)).expect("taken in");
        assert_eq!(vtc.counter(1), Some(10.0 + 2.0 * 5.0));
        // In and out between two orders; and out of the queue without having run.
        vtc.on_event(&end(1, 1)).expect("taken in");
        vtc.on_event(&end(2, 0)).expect("taken in");
        assert_eq!(vtc.counter(1), Some(20.0 + 12.0));
        assert_eq!(vtc.in_ledger(), 0, "nothing is kept of the past");
    }
}
