//! The policy itself.

use windtunnel_plugin_api::{
    ClusterView, InstanceView, Interests, PolicyError, RequestView, Route, Router, Setup,
};

/// Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018).
///
/// Every instance has some points on a ring. A session belongs to the instance of the first point
/// at or after its hash. An instance may have `ceil(load_bound * (m + 1) / n)` requests in flight,
/// with m of them on n instances before this one; if the owner is full, the next instance on the
/// ring that is not takes the request. When instances come or go, only the sessions of their points
/// move. A request without a session goes to the instance with the fewest in flight.
#[derive(Debug)]
pub struct SessionAffinity {
    load_bound: f64,
    points: u32,
    ring: Ring,
    /// Owner of the last request's session, and the bound that held.
    last: Option<(u32, u32)>,
}

impl SessionAffinity {
    /// From the parameters `load_bound` and `points`.
    ///
    /// # Errors
    /// None.
    pub fn new(setup: &mut Setup<'_>) -> Result<Self, PolicyError> {
        Ok(Self {
            load_bound: setup.param("load_bound"),
            points: setup.param("points") as u32,
            ring: Ring::default(),
            last: None,
        })
    }

    /// Most requests in flight per instance, this one included.
    fn capacity(&self, cluster: &ClusterView<'_>) -> u32 {
        let in_flight: u64 = cluster.instances.iter().map(load).map(u64::from).sum();
        let share = (in_flight + 1) as f64 / cluster.instances.len() as f64;
        (self.load_bound * share).ceil() as u32
    }
}

fn load(instance: &InstanceView) -> u32 {
    instance.in_flight
}

impl Router for SessionAffinity {
    fn interests(&self) -> Interests {
        Interests::COUNTERS
    }

    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let instances = cluster.instances;
        if request.session == 0 {
            self.last = None;
            let least = (0..instances.len()).min_by_key(|&i| load(&instances[i]));
            return Ok(Route::To(least.unwrap_or(0)));
        }
        self.ring.follow(cluster, self.points);
        let capacity = self.capacity(cluster);
        let hash = place(u64::from(request.session));
        let mut owner = None;
        for i in self.ring.from(hash) {
            let owner = *owner.get_or_insert(i);
            if load(&instances[i]) < capacity {
                self.last = Some((instances[owner].index, capacity));
                return Ok(Route::To(i));
            }
        }
        // Not all can have more than their share, so this cannot happen with a bound of at least 1.
        Err(PolicyError::new(format!(
            "no instance has fewer than {capacity} requests"
        )))
    }

    fn reason(&self) -> String {
        self.last.map_or(String::new(), |(owner, capacity)| {
            format!("session of instance {owner}, at most {capacity} each")
        })
    }
}

/// The points of the instances, by hash.
#[derive(Debug, Default)]
struct Ring {
    /// Numbers of the instances it was made for, in the order in which they are shown.
    instances: Vec<u32>,
    /// Hash, and index among the instances shown.
    points: Vec<(u64, usize)>,
}

impl Ring {
    /// Makes the ring anew if other instances are shown than before.
    fn follow(&mut self, cluster: &ClusterView<'_>, points: u32) {
        let shown = || cluster.instances.iter().map(|i| i.index);
        if self.instances.len() == cluster.instances.len()
            && shown().eq(self.instances.iter().copied())
        {
            return;
        }
        self.instances = shown().collect();
        self.points.clear();
        for (i, &index) in self.instances.iter().enumerate() {
            let number = (u64::from(index) + 1) << 16;
            let own = (1..=points).map(|k| (place(number + u64::from(k)), i));
            self.points.extend(own);
        }
        self.points.sort_unstable();
    }

    /// The instances of the points at and after `hash`, once around.
    fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|(_, i)| *i)
    }
}

/// The place of a number on the ring: the hash that scripts have, taken twice, since one round
/// leaves the high bits of small numbers close together.
fn place(x: u64) -> u64 {
    hash(hash(x as f64) as f64)
}

/// FNV-1a of the eight little-endian bytes of a number, its upper 53 bits.
fn hash(x: f64) -> u64 {
    let fold = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    x.to_le_bytes()
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, fold)
        >> 11
}
