use super::chain::{Devices, Lacks};
use super::config::{ChainConfig, DeviceTier, KvTiers, TierWay};
use super::cpu::{CpuTier, Found};
use super::station::{Direction, Station, Transfer};
use super::{Asker, TieredCache};
use crate::kv::block_table::{BlockTable, Sequence};
use crate::kv::cached_prefix::CachedPrefix;
use windtunnel_base::request::{RequestId, Span, TokenSeq};

const SIZE: u32 = 4;

/// A request with the first `shared` tokens of stream 1, then its own.
struct Request {
    id: RequestId,
    prompt: TokenSeq,
    output: TokenSeq,
    table: BlockTable,
}

impl Request {
    fn new(number: u32, shared: u32, own: u32) -> Self {
        let mut prompt = TokenSeq::of(1, shared);
        prompt.push(Span {
            stream: 10 + number,
            start: 0,
            len: own,
        });
        Self {
            id: RequestId::Number(number.into()),
            prompt,
            output: TokenSeq::of(1000 + number, 64),
            table: BlockTable::default(),
        }
    }

    fn sequence(&self) -> Sequence<'_> {
        Sequence {
            prompt: &self.prompt,
            output: &self.output,
            private_from: u32::MAX,
        }
    }

    fn ask(
        &mut self,
        cache: &mut TieredCache,
        start: u32,
        tokens: u32,
        cached: &CachedPrefix,
    ) -> bool {
        let mut table = std::mem::take(&mut self.table);
        let asker = Asker {
            id: &self.id,
            sequence: self.sequence(),
            start,
            tokens,
            prefills: start < self.prompt.len(),
            known: true,
            may_wait: true,
        };
        let stored = cache.allocate(&mut table, &asker, cached);
        self.table = table;
        stored
    }

    /// Is admitted with its whole prompt, as an engine does it; returns the blocks found.
    fn admit(&mut self, cache: &mut TieredCache) -> Option<u32> {
        let cached = cache.cached_prefix(self.sequence(), self.prompt.len());
        let found = cached.blocks();
        let rest = self.prompt.len() - found * SIZE;
        self.ask(cache, found * SIZE, rest, &cached)
            .then_some(found)
    }
}

fn mirror(cache: &mut TieredCache, requests: &[&Request]) {
    cache.mirror(
        (1..)
            .zip(requests)
            .map(|(k, r)| (k, &r.table, r.prompt.len())),
    );
}

fn cache(blocks: u64, cpu_blocks: u64, block_us: i64) -> TieredCache {
    let way = TierWay::Mirror { block_us };
    TieredCache::new(blocks, SIZE, &KvTiers { cpu_blocks, way })
}

fn check(cache: &TieredCache, requests: &[&Request]) {
    let tables: Vec<&BlockTable> = requests.iter().map(|r| &r.table).collect();
    cache.check(&tables).unwrap();
}

/// A prefix of four blocks was computed, mirrored, and lost on the GPU to another request.
fn lost_prefix(cpu_blocks: u64) -> TieredCache {
    let mut cache = cache(6, cpu_blocks, 7);
    let mut first = Request::new(1, 16, 0);
    assert_eq!(first.admit(&mut cache), Some(0));
    mirror(&mut cache, &[&first]);
    cache.release(&mut first.table);
    let mut second = Request::new(2, 0, 24);
    assert_eq!(second.admit(&mut cache), Some(0));
    cache.release(&mut second.table);
    check(&cache, &[]);
    cache
}

#[test]
fn what_the_cpu_has_comes_back_and_is_claimed() {
    let mut cache = lost_prefix(10);
    // Nothing is on the GPU, so the admission is for all 18 tokens; four blocks come back, the
    // step waits for them, and only the last two tokens get a block of their own.
    let mut again = Request::new(3, 16, 2);
    assert_eq!(again.admit(&mut cache), Some(0));
    assert_eq!(cache.take_pending_us(), 4 * 7);
    assert_eq!(cache.take_pending_us(), 0);
    assert_eq!((again.table.len(), again.table.tail()), (5, 2));
    assert_eq!((cache.reused(), cache.taken()), (4, 4 + 6 + 1));
    assert_eq!(cache.counts().reloaded, 4);
    check(&cache, &[&again]);
}

#[test]
fn a_chunk_claims_no_more_than_it_reaches() {
    let mut cache = lost_prefix(10);
    let mut again = Request::new(3, 16, 0);
    // All four blocks come back; six tokens reach into the second one.
    assert!(again.ask(&mut cache, 0, 6, &CachedPrefix::default()));
    assert_eq!((again.table.len(), again.table.tail()), (2, SIZE));
    assert_eq!(cache.counts().reloaded, 4);
    // The next chunk starts in the middle of a block that is held as a whole: its tokens are stored
    // out of step, and no lookup finds that block.
    assert!(again.ask(&mut cache, 6, 4, &CachedPrefix::default()));
    assert_eq!((again.table.len(), again.table.tail()), (3, SIZE));
    mirror(&mut cache, &[&again]);
    assert_eq!(cache.counts().stored, 4 + 1);
    let prompt = again.sequence();
    assert_eq!(cache.cached_prefix(prompt, 16).blocks(), 4);
    check(&cache, &[&again]);
}

#[test]
fn no_more_blocks_come_back_than_are_free() {
    let mut cache = lost_prefix(10);
    let mut holder = Request::new(4, 0, 16);
    assert_eq!(holder.admit(&mut cache), Some(0));
    // Two blocks are free: two come back, are claimed, and the rest does not fit. The claims stay.
    let mut again = Request::new(3, 16, 0);
    assert_eq!(again.admit(&mut cache), None);
    assert_eq!(cache.counts().reloaded, 2);
    assert_eq!(again.table.len(), 2);
    assert_eq!(cache.free(), 0);
    check(&cache, &[&holder, &again]);
    // Without anything to bring back, a failure is counted.
    let mut other = Request::new(5, 0, 4);
    assert_eq!(other.admit(&mut cache), None);
    assert_eq!(cache.counts().missed, 1);
}

#[test]
fn the_cpu_forgets_what_was_held_longest_ago() {
    let mut cache = cache(20, 3, 0);
    let (mut a, mut b) = (Request::new(1, 0, 8), Request::new(2, 0, 8));
    a.admit(&mut cache);
    b.admit(&mut cache);
    mirror(&mut cache, &[&a, &b]);
    // The fourth block took the place of the first one.
    let counts = cache.counts();
    assert_eq!((counts.stored, counts.evicted), (4, 1));
    assert_eq!(counts.thrashing, 0.25);
    // All of them do not fit, so each pass goes round.
    mirror(&mut cache, &[&a, &b]);
    assert_eq!(cache.counts().stored, 8);
    cache.release(&mut a.table);
    let before = cache.counts();
    mirror(&mut cache, &[&b]);
    mirror(&mut cache, &[&b]);
    assert_eq!(cache.counts(), before);
    check(&cache, &[&b]);
}

#[test]
fn a_block_that_output_fills_goes_to_the_cpu_too() {
    let mut cache = cache(20, 10, 0);
    let mut a = Request::new(1, 0, 6);
    a.admit(&mut cache);
    mirror(&mut cache, &[&a]);
    assert_eq!(cache.counts().stored, 1);
    for position in 6..9 {
        assert!(a.ask(&mut cache, position, 1, &CachedPrefix::default()));
    }
    mirror(&mut cache, &[&a]);
    assert_eq!((cache.counts().stored, a.table.len()), (2, 3));
    // A conversation goes on with it.
    let mut next = Request::new(2, 0, 0);
    next.prompt = a.prompt.clone();
    next.prompt.extend_from(&a.output, 2);
    assert_eq!(cache.cached_prefix(next.sequence(), 8).blocks(), 2);
}

#[test]
fn places_that_are_read_or_written_stay() {
    let mut cpu = CpuTier::new(3);
    for name in [1, 2, 3] {
        assert!(cpu.store(name));
    }
    cpu.pin(1);
    cpu.touch(2);
    assert_eq!(cpu.order(), [3, 2]);
    // Two places may go: three are refused, two are given, and cannot be read.
    assert_eq!(cpu.reserve(&[7, 8, 9]), 0);
    assert_eq!(cpu.reserve(&[7, 8]), 2);
    assert_eq!(cpu.evictions(), 2);
    assert_eq!((cpu.find(7), cpu.find(1)), (Found::Pending, Found::Ready));
    assert!(!cpu.store(10));
    cpu.complete(7);
    cpu.unpin(1);
    assert_eq!(cpu.order(), [7, 1]);
    assert!(cpu.store(10));
    assert_eq!(cpu.find(7), Found::Missing);
    cpu.check().unwrap();
}

fn device(threads: u32) -> DeviceTier {
    DeviceTier {
        read_threads: threads,
        write_threads: threads,
        base_us: 10,
        read_bytes_per_us: 2.0,
        write_bytes_per_us: 1.0,
        saturation_queue_depth: 0,
        single_transfer_fraction: 0.0,
    }
}

#[test]
fn threads_do_their_own_kind_first_and_one_thing_at_a_time() {
    let mut station = Station::new(&[device(1)]);
    let transfer = |direction, name| Transfer {
        tier: 0,
        direction,
        bytes: 100,
        names: vec![name],
    };
    // Two threads: the first write is done by the reader, as nothing is to be read; 110 us each.
    for (direction, name) in [
        (Direction::Write, 1),
        (Direction::Write, 2),
        (Direction::Write, 3),
        (Direction::Read, 4),
    ] {
        station.submit(transfer(direction, name), 0);
    }
    assert!(station.ended(109).is_empty());
    let names = |ended: Vec<(Direction, usize, Vec<u64>)>| -> Vec<u64> {
        ended.into_iter().flat_map(|(_, _, names)| names).collect()
    };
    assert_eq!(names(station.ended(110)), [1, 2]);
    // The reader reads: 60 us; the writer writes: 110 us.
    assert_eq!(names(station.ended(170)), [4]);
    assert_eq!(names(station.ended(219)), Vec::<u64>::new());
    assert_eq!(names(station.ended(1000)), [3]);
    assert_eq!(station.under_way(), 0);
}

#[test]
fn a_transfer_alone_may_have_a_share_of_the_bandwidth() {
    let mut ramp = device(4);
    (ramp.saturation_queue_depth, ramp.single_transfer_fraction) = (3, 0.5);
    let mut station = Station::new(&[ramp]);
    for name in 1..=3 {
        let transfer = Transfer {
            tier: 0,
            direction: Direction::Read,
            bytes: 120,
            names: vec![name],
        };
        station.submit(transfer, 0);
    }
    // 120 bytes at 1, 1.5 and 2 per us.
    let ends: Vec<usize> = [70, 90, 130].map(|at| station.ended(at).len()).to_vec();
    assert_eq!(ends, [1, 1, 1]);
}

fn chain(prompts_only: bool) -> ChainConfig {
    ChainConfig {
        prompts_only,
        block_bytes: 100,
        devices: vec![device(2)],
    }
}

#[test]
fn a_device_is_asked_once_then_read() {
    let (mut devices, mut cpu) = (Devices::new(&chain(true)), CpuTier::new(2));
    let id = RequestId::Number(1);
    cpu.store(5);
    devices.write(5, &mut cpu);
    assert!(devices.run(&[5], &cpu, |_| false).is_none());
    assert!(devices.set_clock(110, &mut cpu));
    // It is on the device. The CPU loses it to others.
    cpu.store(6);
    cpu.store(7);
    let (device, run) = devices.run(&[5], &cpu, |_| false).unwrap();
    devices.put_off(&id, Lacks::OnDevice(device, run.clone()), &mut cpu);
    assert_eq!(devices.waits(&id), Some(true));
    assert_eq!(cpu.find(5), Found::Missing);
    // The next step knows that the device has it, and reads it: 60 us.
    devices.set_clock(200, &mut cpu);
    assert!(devices.poll(&mut cpu));
    assert_eq!(
        (devices.waits(&id), cpu.find(5)),
        (Some(true), Found::Pending)
    );
    devices.set_clock(259, &mut cpu);
    assert!(!devices.poll(&mut cpu));
    assert_eq!(devices.waits(&id), Some(true));
    devices.set_clock(260, &mut cpu);
    devices.poll(&mut cpu);
    assert_eq!(
        (devices.waits(&id), cpu.find(5)),
        (Some(false), Found::Ready)
    );
    // What is known is read at once.
    cpu.store(6);
    cpu.store(8);
    let other = RequestId::Number(2);
    devices.put_off(&other, Lacks::OnDevice(device, run), &mut cpu);
    assert_eq!(cpu.find(5), Found::Pending);
    devices.forget(&id);
    assert_eq!(devices.waits(&id), None);
    assert_eq!(devices.refused_share(), 0.0);
}

#[test]
fn a_request_waits_for_a_device_and_is_admitted_then() {
    let way = TierWay::Chain(chain(true));
    let tiers = KvTiers { cpu_blocks: 2, way };
    let mut cache = TieredCache::new(6, SIZE, &tiers);
    let mut first = Request::new(1, 8, 0);
    first.admit(&mut cache);
    mirror(&mut cache, &[&first]);
    cache.release(&mut first.table);
    cache.set_clock(500);
    // GPU and CPU lose it to another prompt.
    let mut second = Request::new(2, 0, 24);
    second.admit(&mut cache);
    mirror(&mut cache, &[&second]);
    cache.release(&mut second.table);
    cache.set_clock(1000);
    let mut again = Request::new(3, 8, 1);
    assert_eq!(again.admit(&mut cache), None);
    assert!(cache.waits(&again.id));
    cache.set_clock(1001);
    cache.poll();
    assert!(cache.waits(&again.id));
    // 200 bytes at 2 per us, and 10 us.
    cache.set_clock(1111);
    cache.poll();
    assert!(!cache.waits(&again.id));
    assert_eq!(again.admit(&mut cache), Some(0));
    assert_eq!((again.table.len(), cache.counts().reloaded), (3, 2));
    assert_eq!(cache.take_pending_us(), 0);
    check(&cache, &[&again]);
}

#[test]
fn only_prompts_are_written_where_the_file_says_so() {
    for (prompts_only, stored) in [(true, 1), (false, 2)] {
        let way = TierWay::Chain(chain(prompts_only));
        let mut cache = TieredCache::new(9, SIZE, &KvTiers { cpu_blocks: 9, way });
        let mut a = Request::new(1, 0, 6);
        a.admit(&mut cache);
        for position in 6..8 {
            a.ask(&mut cache, position, 1, &CachedPrefix::default());
        }
        mirror(&mut cache, &[&a]);
        assert_eq!(cache.counts().stored, stored);
    }
}
