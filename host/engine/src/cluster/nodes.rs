//! Nodes that instances run on: which have room, which are being provisioned, and which go back.
//!
//! An instance is on one node, the first in the order of pools and then of nodes that has enough
//! GPUs free. Where none has, it waits for a node that is being provisioned, for one that is asked
//! for, or, when a pool has as many as it may, until others go.

use super::config::{ClusterConfig, PoolConfig};
use super::scaling::NodePool;
use std::collections::VecDeque;
use windtunnel_base::input::InputError;
use windtunnel_base::record::NodePoolRecord;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It was asked for.
    Asked,
    /// Instances can be started on it.
    There,
    /// It went back.
    Gone,
}

/// A node.
#[derive(Clone, Debug)]
struct Node {
    pool: usize,
    state: State,
    free: u32,
    /// When it was asked for, and since when it has no instance.
    asked_us: i64,
    idle_us: i64,
}

/// What is due of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeDue {
    /// It is there.
    Ready(u32),
    /// It has been idle for long enough, if it still is so since then.
    Idle(u32, i64),
}

/// The nodes of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    pools: Vec<NodePool>,
    /// All that there ever were, in the order in which they were asked for.
    nodes: Vec<Node>,
    /// By instance: GPUs that it takes, the pools of nodes that have its GPU, and its node.
    instances: Vec<(u32, Vec<usize>, Option<u32>)>,
    /// Instances without a node, and since when.
    waiting: VecDeque<(u32, i64)>,
    /// What is due next, for whoever keeps the clock.
    pub(super) news: Vec<(i64, NodeDue)>,
    seed: u64,
    records: Vec<NodePoolRecord>,
    /// Instances that had to wait for a node.
    pub(super) waited: u64,
}

/// May the instances of a pool run on nodes of this one?
fn fits(pool: &PoolConfig, nodes: &NodePool) -> bool {
    pool.gpu == nodes.gpu && pool.gpus_per_instance <= nodes.gpus_per_node
}

/// Refuses a cluster whose instances at the start have no room on its nodes at the start.
///
/// # Errors
/// A sentence that names the pool.
pub fn check_nodes(config: &ClusterConfig) -> Result<(), InputError> {
    let Some(Err(k)) = Nodes::of(config) else {
        return Ok(());
    };
    let whose = match config.pools[k].name.as_str() {
        "" => "the instances".to_owned(),
        name => format!("the instances of pool \"{name}\""),
    };
    Err(InputError::new(format!(
        "{whose} at the start have no room on the nodes that are there then; expected more nodes at the start, or \
         fewer instances"
    )))
}

impl Nodes {
    /// Of a cluster with pools of nodes; `None` for others. An error is the position of the pool
    /// whose instances at the start have no room on the nodes at the start.
    pub(super) fn of(config: &ClusterConfig) -> Option<Result<Self, usize>> {
        let pools = config.scaling.nodes.clone();
        if pools.is_empty() {
            return None;
        }
        let node = |pool: usize| Node {
            pool,
            state: State::There,
            free: pools[pool].gpus_per_node,
            asked_us: 0,
            idle_us: 0,
        };
        let numbered = pools.iter().enumerate();
        let all = numbered.flat_map(|(k, pool)| (0..pool.initial).map(move |_| k));
        let record = |pool: &NodePool| NodePoolRecord {
            name: pool.name.clone(),
            gpus_per_node: pool.gpus_per_node,
            usd_per_hour: pool.usd_per_hour,
            most: pool.initial,
            ..NodePoolRecord::default()
        };
        let mut nodes = Self {
            nodes: all.map(node).collect(),
            instances: Vec::new(),
            waiting: VecDeque::new(),
            news: Vec::new(),
            seed: config.seed,
            records: pools.iter().map(record).collect(),
            waited: 0,
            pools,
        };
        for (k, (pool, initial)) in config.pools.iter().zip(config.initial()).enumerate() {
            let own = (0..nodes.pools.len()).filter(|n| fits(pool, &nodes.pools[*n]));
            let own: Vec<usize> = own.collect();
            for i in 0..pool.instances {
                let number = nodes.instances.len() as u32;
                nodes
                    .instances
                    .push((pool.gpus_per_instance, own.clone(), None));
                if i < initial {
                    match nodes.with_room(number, State::There) {
                        Some(node) => nodes.put(number, node),
                        None => return Some(Err(k)),
                    }
                }
            }
        }
        for n in 0..nodes.nodes.len() {
            nodes.look_idle(n as u32, 0);
        }
        Some(Ok(nodes))
    }

    /// The first node in this state with room for an instance.
    fn with_room(&self, i: u32, state: State) -> Option<u32> {
        let (gpus, pools, _) = &self.instances[i as usize];
        pools.iter().find_map(|&pool| {
            let room = |node: &Node| node.pool == pool && node.state == state && node.free >= *gpus;
            self.nodes.iter().position(room).map(|n| n as u32)
        })
    }

    fn put(&mut self, i: u32, node: u32) {
        let (gpus, _, place) = &mut self.instances[i as usize];
        *place = Some(node);
        self.nodes[node as usize].free -= *gpus;
    }

    /// Nodes of a pool that are there or asked for.
    fn count(&self, pool: usize) -> u32 {
        let own = self.nodes.iter().filter(|node| node.pool == pool);
        own.filter(|node| node.state != State::Gone).count() as u32
    }

    /// Asks for a node on which an instance has room; `None` where no pool may have more.
    fn ask(&mut self, i: u32, now: i64) -> Option<u32> {
        let pools = self.instances[i as usize].1.iter().copied();
        let pool = pools
            .into_iter()
            .find(|&k| self.count(k) < self.pools[k].max)?;
        let number = self.nodes.len() as u32;
        let own = &self.pools[pool];
        self.nodes.push(Node {
            pool,
            state: State::Asked,
            free: own.gpus_per_node,
            asked_us: now,
            idle_us: now,
        });
        let us = own
            .provisioning
            .draw_of("nodes", self.seed, pool, u64::from(number));
        self.news
            .push((now.saturating_add(us), NodeDue::Ready(number)));
        let most = self.count(pool);
        let record = &mut self.records[pool];
        record.provisioned += 1;
        record.most = record.most.max(most);
        Some(number)
    }

    /// Finds a node for an instance: is it there? Otherwise the instance waits.
    pub(super) fn place(&mut self, i: u32, now: i64) -> bool {
        let found = self.find(i, now);
        if found != Some(true) {
            self.waited += 1;
        }
        if found.is_none() {
            self.waiting.push_back((i, now));
        }
        found == Some(true)
    }

    /// Puts an instance on a node that is there (`true`) or is to come, if there is one.
    fn find(&mut self, i: u32, now: i64) -> Option<bool> {
        if let Some(node) = self.with_room(i, State::There) {
            self.put(i, node);
            return Some(true);
        }
        let coming = self
            .with_room(i, State::Asked)
            .or_else(|| self.ask(i, now))?;
        self.put(i, coming);
        Some(false)
    }

    /// An instance is not there any more, or does not wait any more.
    pub(super) fn leave(&mut self, i: u32, now: i64) {
        self.waiting.retain(|(other, _)| *other != i);
        let (gpus, _, place) = &mut self.instances[i as usize];
        if let Some(node) = place.take() {
            self.nodes[node as usize].free += *gpus;
            self.look_idle(node, now);
        }
    }

    /// Those that wait and have room now, in the order in which they came; on a node that is
    /// there.
    pub(super) fn settle(&mut self, now: i64) -> Vec<u32> {
        let mut there = Vec::new();
        for (i, since) in std::mem::take(&mut self.waiting) {
            match self.find(i, now) {
                Some(true) => there.push(i),
                Some(false) => {}
                None => self.waiting.push_back((i, since)),
            }
        }
        there
    }

    /// A node without instances goes back after a while, unless one comes.
    fn look_idle(&mut self, node: u32, now: i64) {
        let own = &mut self.nodes[node as usize];
        let pool = &self.pools[own.pool];
        if own.state == State::There && own.free == pool.gpus_per_node {
            own.idle_us = now;
            let at = now.saturating_add(pool.idle_us);
            self.news.push((at, NodeDue::Idle(node, now)));
        }
    }

    /// A node is there: the instances that waited for it.
    pub(super) fn is_ready(&mut self, node: u32, now: i64) -> Vec<u32> {
        self.nodes[node as usize].state = State::There;
        self.look_idle(node, now);
        let numbered = (0..).zip(&self.instances);
        let own = numbered.filter(|(_, (_, _, place))| *place == Some(node));
        own.map(|(i, _)| i).collect()
    }

    /// A node has been without instances for long enough, if it has been since `since_us`. Those
    /// that have to stay do, and those that somebody waits for. That it is so may be seen late, so
    /// the time of going is counted and not read.
    pub(super) fn may_go(&mut self, node: u32, since_us: i64) {
        let own = &self.nodes[node as usize];
        let pool = &self.pools[own.pool];
        let idle = own.state == State::There && own.free == pool.gpus_per_node;
        let wanted = |(i, _): &(u32, i64)| self.instances[*i as usize].1.contains(&own.pool);
        if !idle
            || own.idle_us != since_us
            || self.count(own.pool) <= pool.min
            || self.waiting.iter().any(wanted)
        {
            return;
        }
        let gone_us = since_us.saturating_add(pool.idle_us);
        let (k, asked_us) = (own.pool, own.asked_us);
        self.nodes[node as usize].state = State::Gone;
        self.records[k].returned += 1;
        self.records[k].node_us += i128::from(gone_us - asked_us);
    }

    /// Instances without a node.
    pub(super) fn waits(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// What the nodes took, up to `ended_us`.
    pub(super) fn record(mut self, ended_us: i64) -> Vec<NodePoolRecord> {
        for node in self.nodes.iter().filter(|node| node.state != State::Gone) {
            let us = (ended_us - node.asked_us).max(0);
            self.records[node.pool].node_us += i128::from(us);
        }
        self.records
    }

    /// Checks that the GPUs of every node are those of its instances and the free ones; `takes`
    /// says which instances need a node.
    pub(super) fn check(&self, takes: impl Fn(u32) -> bool) -> Result<(), String> {
        let mut used = vec![0; self.nodes.len()];
        for (i, (gpus, _, place)) in (0..).zip(&self.instances) {
            let waits = self.waiting.iter().any(|(other, _)| *other == i);
            if takes(i) != (place.is_some() || waits) || (place.is_some() && waits) {
                return Err(format!(
                    "instance {i} is on node {place:?}, waiting: {waits}"
                ));
            }
            if let Some(node) = place {
                used[*node as usize] += gpus;
            }
        }
        for (n, (node, used)) in self.nodes.iter().zip(used).enumerate() {
            let all = self.pools[node.pool].gpus_per_node;
            if node.free + used != all || (node.state == State::Gone && used > 0) {
                let free = node.free;
                return Err(format!(
                    "node {n} has {all} GPUs, {free} free and {used} used"
                ));
            }
        }
        for (k, pool) in self.pools.iter().enumerate() {
            let n = self.count(k);
            if n > pool.max.max(pool.initial) {
                return Err(format!(
                    "{n} nodes of pool {}, at most {}",
                    pool.name, pool.max
                ));
            }
        }
        Ok(())
    }
}
