//! Routing by session: consistent hashing with bounded load, as a compiled plugin.

mod policy;

pub use policy::SessionAffinity;

windtunnel_plugin_api::export_plugin! {
    name: "session-affinity";
    version: env!("CARGO_PKG_VERSION");

    /// Keeps a session on one instance unless that has more than its share of the requests
    /// in flight.
    routing "session-affinity" {
        /// Largest load of an instance, as a multiple of the average.
        load_bound: 1.5 in 1.0..=100.0, log;
        /// Points of each instance on the hash ring.
        points: 100 in 1..=10_000, whole, log;
    } = SessionAffinity::new;
}

#[cfg(test)]
mod tests {
    use super::SessionAffinity;
    use windtunnel_plugin_api::{ClusterView, InstanceView, RequestView, Route, Router, Setup};

    fn policy(load_bound: f64) -> SessionAffinity {
        let params = [("load_bound".into(), load_bound), ("points".into(), 100.0)];
        SessionAffinity::new(&mut Setup {
            params: &params,
            instances: 4,
            slots: 64,
            symbol: &mut |_| 0,
        })
        .expect("made")
    }

    fn views(loads: &[u32]) -> Vec<InstanceView> {
        let numbered = loads.iter().zip(0..);
        numbered
            .map(|(&in_flight, index)| InstanceView {
                index,
                in_flight,
                ..InstanceView::default()
            })
            .collect()
    }

    fn sent(policy: &mut SessionAffinity, session: u32, views: &[InstanceView]) -> u32 {
        let request = RequestView {
            session,
            ..RequestView::default()
        };
        match policy.route(&request, &ClusterView::bare(0, views)) {
            Ok(Route::To(i)) => views[i].index,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sessions_stay_and_spread() {
        let mut policy = policy(100.0);
        let idle = views(&[0; 4]);
        let owners: Vec<u32> = (1..=4000).map(|s| sent(&mut policy, s, &idle)).collect();
        for i in 0..4 {
            let n = owners.iter().filter(|&&o| o == i).count();
            assert!((700..=1300).contains(&n), "instance {i} has {n} of 4000");
        }
        // Without instance 2 its sessions move, and no others.
        let fewer: Vec<InstanceView> = idle.iter().filter(|v| v.index != 2).copied().collect();
        for (s, &owner) in (1..).zip(&owners) {
            let now = sent(&mut policy, s, &fewer);
            assert!(now == owner || owner == 2, "session {s}: {owner} to {now}");
            assert_ne!(now, 2);
        }
    }

    #[test]
    fn a_full_owner_passes_a_session_on() {
        let mut policy = policy(1.25);
        let idle = views(&[0; 4]);
        let owner = sent(&mut policy, 7, &idle) as usize;
        // 11 in flight and this one: ceil(1.25 * 12 / 4) = 4 each.
        let mut loads = [3; 4];
        loads[(owner + 1) % 4] = 2;
        let now = sent(&mut policy, 7, &views(&loads)) as usize;
        assert_eq!(now, owner, "3 of 4");
        assert!(policy.reason().ends_with("at most 4 each"));
        let mut crowded = [1; 4];
        crowded[owner] = 4;
        // 7 in flight: ceil(1.25 * 8 / 4) = 3.
        let now = sent(&mut policy, 7, &views(&crowded)) as usize;
        assert_ne!(now, owner, "4 of 3");
        assert_eq!(
            now,
            sent(&mut policy, 7, &views(&crowded)) as usize,
            "always the same one"
        );
        assert_eq!(
            sent(&mut policy, 0, &views(&[2, 1, 1, 5])),
            1,
            "no session: the least loaded"
        );
    }

    #[test]
    fn no_instance_gets_more_than_its_bound() {
        let mut policy = policy(1.0);
        let mut loads = [0u32; 4];
        for k in 1..=400u32 {
            let i = sent(&mut policy, k % 3 + 1, &views(&loads)) as usize;
            loads[i] += 1;
            let bound = k.div_ceil(4);
            assert!(loads.iter().all(|&l| l <= bound), "{loads:?}");
        }
        assert_eq!(loads, [100; 4]);
    }
}
