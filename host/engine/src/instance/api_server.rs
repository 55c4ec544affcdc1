//! The API server of an instance: processes through which requests come and tokens leave.

use super::config::{ApiServerConfig, NEVER};
use super::slot::Slot;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Parts of a microsecond in which the work of a process is shared.
const PARTS: i128 = 1024;

/// The processes of a server. Each is an event loop: it goes round the requests that it takes in,
/// a bit of work for each, so that those that come together are done together (processor sharing).
/// The output of a step goes first: it is one piece of work on every process, of an equal share of
/// the step's requests, and reaches the clients when that is done.
#[derive(Clone, Debug)]
pub(super) struct ApiServer {
    config: ApiServerConfig,
    processes: Vec<Process>,
    /// The work of the processes is counted up to here.
    counted_us: i64,
    /// The output that came so far is out then.
    out_us: i64,
    /// When the first of the requests is taken in, if no output comes before.
    next_us: i64,
    accepted: u64,
}

#[derive(Clone, Debug, Default)]
struct Process {
    /// Work that each request got that was there all the time, [`PARTS`] of a microsecond, when a
    /// request came or left last.
    share: i128,
    /// Work since then, on all of them.
    worked_us: i64,
    /// Requests by the share with which they are done, then by their coming.
    requests: BinaryHeap<Reverse<(i128, u64, Slot)>>,
}

impl Process {
    /// Shares the work among the requests, before their number changes.
    fn settle(&mut self) {
        if let Some(n) = self.number() {
            self.share += i128::from(self.worked_us) * PARTS / n;
        }
        self.worked_us = 0;
    }

    fn number(&self) -> Option<i128> {
        (!self.requests.is_empty()).then_some(self.requests.len() as i128)
    }

    /// Work until the first request is done, microseconds.
    fn left_us(&self) -> Option<i64> {
        let Reverse((done, _, _)) = self.requests.peek()?;
        let parts = (done - self.share) * self.number()?;
        let us = (parts + PARTS - 1) / PARTS - i128::from(self.worked_us);
        Some(i64::try_from(us.max(0)).unwrap_or(NEVER))
    }
}

impl ApiServer {
    /// `None` = it takes no time.
    pub(super) fn new(config: ApiServerConfig) -> Option<Self> {
        let count = config.count.max(1) as usize;
        (!config.is_free()).then(|| Self {
            config,
            processes: vec![Process::default(); count],
            counted_us: 0,
            out_us: 0,
            next_us: NEVER,
            accepted: 0,
        })
    }

    /// When it has taken in the next request; [`NEVER`] if there is none.
    pub(super) fn next_us(&self) -> i64 {
        self.next_us
    }

    /// The requests that it takes in.
    pub(super) fn requests(&self) -> impl Iterator<Item = Slot> + '_ {
        let all = self.processes.iter().flat_map(|p| p.requests.iter());
        all.map(|Reverse((_, _, slot))| *slot)
    }

    /// Is taking in a request of such a prompt any work?
    pub(super) fn takes_in(&self, prompt_tokens: u32) -> bool {
        self.config.request_us(prompt_tokens) > 0
    }

    /// Starts to take in a request that comes at `now`, on the process that has the fewest.
    pub(super) fn accept(&mut self, now: i64, slot: Slot, prompt_tokens: u32) {
        self.count_to(now);
        let work = i128::from(self.config.request_us(prompt_tokens)) * PARTS;
        let order = self.accepted;
        self.accepted += 1;
        let fewest = self.processes.iter_mut().min_by_key(|p| p.requests.len());
        if let Some(process) = fewest {
            process.settle();
            let done = process.share + work;
            process.requests.push(Reverse((done, order, slot)));
        }
        self.plan();
    }

    /// Hands over the request that it has taken in at [`next_us`](Self::next_us).
    pub(super) fn take_in(&mut self) -> Option<Slot> {
        self.count_to(self.next_us);
        let left = |p: &&mut Process| p.left_us().unwrap_or(NEVER);
        let process = self.processes.iter_mut().min_by_key(left)?;
        process.settle();
        let Reverse((done, _, slot)) = process.requests.pop()?;
        // Rounded to whole microseconds, the last bit may be missing.
        process.share = process.share.max(done);
        self.plan();
        Some(slot)
    }

    /// Sends the output of a step that ended at `end_us`, one message for each of so many requests;
    /// returns when the last one is out.
    pub(super) fn send(&mut self, end_us: i64, messages: u64) -> i64 {
        self.count_to(end_us);
        let work_us = self.work_us(messages);
        self.out_us = self.out_us.max(end_us).saturating_add(work_us);
        self.plan();
        self.out_us
    }

    /// The same for `steps` steps of which the first ends at `end_us` and the others after
    /// `every_us` each, all before [`next_us`](Self::next_us). The output before was sent with the
    /// step just before them. `gaps` hears of the gaps between what clients see: how long, and how
    /// many.
    pub(super) fn send_on(
        &mut self,
        (end_us, every_us): (i64, i64),
        steps: u64,
        messages: u64,
        mut gaps: impl FnMut(i64, u64),
    ) -> i64 {
        let work_us = self.work_us(messages);
        let since_us = self.counted_us.max(self.out_us);
        let (mut out_us, mut end, mut left) = (self.out_us, end_us, steps);
        while left > 0 {
            let (gap_us, n) = if out_us >= end {
                // Behind: one piece of work after the other, until there is time between them.
                let more = match every_us - work_us {
                    gain @ 1.. => ((out_us - end) / gain) as u64 + 1,
                    _ => left,
                };
                (work_us, more.min(left))
            } else if out_us == end - every_us + work_us {
                // On time before and from now on.
                (every_us, left)
            } else {
                (end + work_us - out_us, 1)
            };
            gaps(gap_us, n);
            out_us = out_us.saturating_add(gap_us.saturating_mul(n as i64));
            end = end.saturating_add(every_us.saturating_mul(n as i64));
            left -= n;
        }
        if steps > 0 {
            // Between the pieces, requests got on.
            let sent_us = work_us.saturating_mul(steps as i64);
            self.work(out_us.saturating_sub(since_us).saturating_sub(sent_us));
            (self.counted_us, self.out_us) = (end.saturating_sub(every_us), out_us);
            self.plan();
        }
        out_us
    }

    /// Work of each process for one step's output.
    fn work_us(&self, messages: u64) -> i64 {
        self.config
            .output_us(messages.div_ceil(self.processes.len() as u64))
    }

    /// Counts the work up to `now`, when it has not sent output.
    fn count_to(&mut self, now: i64) {
        self.work(now - self.counted_us.max(self.out_us));
        self.counted_us = self.counted_us.max(now);
    }

    fn work(&mut self, us: i64) {
        for process in &mut self.processes {
            process.worked_us = process.worked_us.saturating_add(us.max(0));
            if process.requests.is_empty() {
                process.worked_us = 0;
            }
        }
    }

    fn plan(&mut self) {
        let from_us = self.counted_us.max(self.out_us);
        let left = self.processes.iter().filter_map(Process::left_us).min();
        self.next_us = left.map_or(NEVER, |us| from_us.saturating_add(us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server(count: u32, times_us: [f64; 3]) -> ApiServer {
        let config = ApiServerConfig {
            count,
            times_us,
            ..ApiServerConfig::default()
        };
        ApiServer::new(config).expect("it takes time")
    }

    /// When it has taken in each request, with nothing else happening.
    fn taken_in(server: &mut ApiServer) -> Vec<i64> {
        let mut times = Vec::new();
        while server.next_us() != NEVER {
            times.push(server.next_us());
            server.take_in().expect("a request");
        }
        times
    }

    fn slots(n: usize) -> Vec<Slot> {
        let mut slab = crate::instance::slab::Slab::default();
        (0..n).map(|_| slab.insert(())).collect()
    }

    #[test]
    fn requests_that_come_together_are_done_together() {
        let slot = slots(4);
        let mut one = server(1, [1000.0, 2.0, 0.0]);
        one.accept(0, slot[0], 100);
        one.accept(0, slot[1], 100);
        assert_eq!(taken_in(&mut one), [2400, 2400]);
        // Alone 5000..5600; of the other 600 us half each, 5600..6800; then what the second still
        // needs, 600 us.
        one.accept(5000, slot[0], 100);
        one.accept(5600, slot[1], 100);
        assert_eq!(taken_in(&mut one), [6800, 7400]);
        let mut two = server(2, [1000.0, 2.0, 0.0]);
        for slot in &slot[..3] {
            two.accept(0, *slot, 100);
        }
        assert_eq!(taken_in(&mut two), [1200, 2400, 2400]);
    }

    #[test]
    fn output_goes_first() {
        let slot = slots(1);
        let mut one = server(1, [100.0, 0.0, 30.0]);
        assert_eq!(one.send(1000, 10), 1300);
        one.accept(1100, slot[0], 1);
        assert_eq!(one.next_us(), 1400, "it waits for the output");
        assert_eq!(one.send(1350, 2), 1410, "half done, it waits once more");
        assert_eq!(taken_in(&mut one), [1460]);
        // Three of five messages on the fuller of two processes.
        assert_eq!(server(2, [0.0, 0.0, 30.0]).send(1000, 5), 1090);
    }

    #[test]
    fn a_server_without_work_is_none() {
        assert!(ApiServer::new(ApiServerConfig::default()).is_none());
    }

    proptest! {
        /// Many steps at once are the same steps one by one, and requests get on between them.
        #[test]
        fn steps_at_once_equal_steps_one_by_one(
            count in 1u32..4,
            output_us in 0u32..50,
            prompts in prop::collection::vec(0u32..40, 0..8),
            end_us in 0i64..400,
            every_us in 1i64..120,
            most in 1u64..40,
            messages in 1u64..12,
        ) {
            let slot = slots(prompts.len());
            let mut one = server(count, [200.0, 10.0, f64::from(output_us)]);
            for (slot, tokens) in slot.iter().zip(&prompts) {
                one.accept(end_us, *slot, *tokens);
            }
            let mut last_us = one.send(end_us, messages);
            prop_assert!(last_us >= end_us);
            let mut many = one.clone();
            // As many as end before a request is taken in, as it is known beforehand.
            let room = (many.next_us() - end_us - 1) / every_us;
            let steps = most.min(room as u64);
            let (mut at_once, mut gaps) = (Vec::new(), Vec::new());
            many.send_on((end_us + every_us, every_us), steps, messages, |us, n| {
                at_once.extend((0..n).map(|_| us));
            });
            for k in 1..=steps as i64 {
                let out_us = one.send(end_us + every_us * k, messages);
                gaps.push(out_us - last_us);
                last_us = out_us;
            }
            prop_assert_eq!(at_once, gaps);
            prop_assert_eq!((many.out_us, many.next_us()), (one.out_us, one.next_us()));
            prop_assert_eq!(taken_in(&mut many), taken_in(&mut one));
        }

        /// No request is taken in before its own work is done, and all are when the work of all is.
        #[test]
        fn work_is_neither_lost_nor_made(
            asked in prop::collection::vec((0i64..500, 0u32..90), 1..20),
        ) {
            let mut one = server(1, [10.0, 1.0, 0.0]);
            let mut asked = asked;
            asked.sort_unstable();
            let slot = slots(asked.len());
            let (mut done, mut busy_until) = (vec![0; asked.len()], 0);
            let place = |at: Slot| slot.iter().position(|s| *s == at).expect("there");
            for (k, (at, tokens)) in asked.iter().enumerate() {
                while one.next_us() <= *at {
                    let now = one.next_us();
                    done[place(one.take_in().expect("a request"))] = now;
                }
                one.accept(*at, slot[k], *tokens);
                busy_until = busy_until.max(*at) + 10 + i64::from(*tokens);
            }
            while one.next_us() != NEVER {
                let now = one.next_us();
                done[place(one.take_in().expect("a request"))] = now;
            }
            for ((at, tokens), done) in asked.iter().zip(&done) {
                prop_assert!(*done >= at + 10 + i64::from(*tokens));
            }
            let last = *done.iter().max().expect("some");
            // Rounding up once per change of the number of requests.
            prop_assert!((busy_until..=busy_until + 40).contains(&last), "{last} {busy_until}");
        }
    }
}
