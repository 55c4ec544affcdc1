//! A time over one whole number, at a constant price per look.

/// Points up to this are kept one by one, beyond it every [`STRIDE`]th.
const DENSE: usize = 512;
const STRIDE: usize = 32;
/// The last point that is kept.
const LAST: usize = 16_384;

/// Microseconds by a number of tokens or requests; never falls. Beyond what is kept it goes on in
/// proportion.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    dense: Vec<f64>,
    sparse: Vec<f64>,
}

impl Curve {
    /// The curve through a function that should not fall, see [`never_falling`].
    pub(super) fn through(us: impl Fn(f64) -> f64) -> Self {
        let points = (0..DENSE).chain((DENSE..=LAST).step_by(STRIDE));
        let mut us: Vec<f64> = points.map(|n| us(n as f64)).collect();
        never_falling(&mut us);
        Self {
            sparse: us[DENSE..].to_vec(),
            dense: us,
        }
    }

    pub(super) fn at(&self, n: f64) -> f64 {
        if n <= DENSE as f64 {
            return self.dense[n as usize];
        }
        if n >= LAST as f64 {
            return self.sparse[self.sparse.len() - 1] * n / LAST as f64;
        }
        let place = (n - DENSE as f64) / STRIDE as f64;
        let before = place as usize;
        let share = place - before as f64;
        self.sparse[before] + share * (self.sparse[before + 1] - self.sparse[before])
    }
}

/// Powers of two that [`Sizes`] are looked up by.
const POWERS: usize = 40;

/// Measured sizes, which ascend, for looks at a constant price.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    at: Vec<f64>,
    /// One over the distance to the next.
    per_distance: Vec<f64>,
    /// For each power of two the last size that is not above it; the first for 1, as smaller
    /// sizes are looked for from there, too.
    from: [u8; POWERS],
}

impl Sizes {
    /// Two sizes or more, and at most 255.
    pub(super) fn new(at: Vec<f64>) -> Self {
        let last_until = |power: usize| {
            if power == 0 {
                return 0;
            }
            let until = at.partition_point(|size| *size <= (power as f64).exp2());
            until.saturating_sub(1).min(at.len() - 2) as u8
        };
        Self {
            from: std::array::from_fn(last_until),
            per_distance: at.windows(2).map(|w| 1.0 / (w[1] - w[0])).collect(),
            at,
        }
    }

    pub(super) fn last(&self) -> f64 {
        self.at[self.at.len() - 1]
    }

    /// The last size that is not above this one, by its number, and the share of the way to the
    /// next; before the first none of it, beyond the last all of the way to that.
    #[inline]
    pub(super) fn place(&self, size: f64) -> (usize, f64) {
        let power = (size.to_bits() >> 52).saturating_sub(1023) as usize;
        let mut i = usize::from(self.from[power.min(POWERS - 1)]);
        while i < self.per_distance.len() - 1 && self.at[i + 1] <= size {
            i += 1;
        }
        let share = (size - self.at[i]) * self.per_distance[i];
        (i, share.clamp(0.0, 1.0))
    }

    /// What a time at the last size is to be multiplied with beyond it, where it grows in
    /// proportion.
    #[inline]
    pub(super) fn beyond(&self, size: f64) -> f64 {
        if size > self.last() {
            size / self.last()
        } else {
            1.0
        }
    }
}

/// Takes the noise out of measurements that cannot fall: each becomes the mean of the largest
/// before it and the smallest behind it.
pub(super) fn never_falling(us: &mut [f64]) {
    let mut smallest = us.to_vec();
    for i in (1..us.len()).rev() {
        smallest[i - 1] = smallest[i - 1].min(smallest[i]);
    }
    let mut largest = f64::NEG_INFINITY;
    for (us, smallest) in us.iter_mut().zip(smallest) {
        largest = largest.max(*us);
        *us = (largest + smallest) / 2.0;
    }
}

/// The value at `x` between measured points, which ascend; before the first that one's, beyond the
/// last in proportion to it.
pub(super) fn between(xs: &[f64], ys: &[f64], x: f64) -> f64 {
    let (Some(first), Some(last)) = (xs.first(), xs.last()) else {
        return f64::NAN;
    };
    if x <= *first {
        return ys[0];
    }
    if x >= *last {
        return ys[ys.len() - 1] * x / last;
    }
    let above = xs.partition_point(|point| *point <= x);
    let (x0, x1) = (xs[above - 1], xs[above]);
    let (y0, y1) = (ys[above - 1], ys[above]);
    y0 + (x - x0) / (x1 - x0) * (y1 - y0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_follows_its_function_and_never_falls() {
        let curve = Curve::through(|n| 10.0 + n);
        for n in [0.0, 1.0, 511.0, 512.0, 513.0, 777.0, 16_383.0] {
            assert!((curve.at(n) - (10.0 + n)).abs() < 1e-9, "{n}");
        }
        assert!(curve.at(40_000.0) > curve.at(20_000.0));
        let noisy = Curve::through(|n| if n == 7.0 { 3.0 } else { n });
        let around = [3.0, 4.0, 6.0, 7.0, 8.0].map(|n| noisy.at(n));
        assert_eq!(around, [3.0, 3.5, 4.5, 4.5, 8.0]);
    }

    #[test]
    fn sizes_are_found_as_by_a_search() {
        let sizes = Sizes::new(vec![0.25, 1.0, 3.0, 4.0, 5.5, 64.0, 1e6]);
        let ys: Vec<f64> = sizes.at.iter().map(|x| 10.0 * x).collect();
        for x in [
            0.0, 0.1, 0.25, 0.9, 1.0, 3.0, 3.5, 5.4, 63.0, 64.0, 7e5, 1e6, 3e6,
        ] {
            let (i, share) = sizes.place(x);
            let y = (ys[i] + share * (ys[i + 1] - ys[i])) * sizes.beyond(x);
            let wanted = between(&sizes.at, &ys, x);
            assert!((y / wanted - 1.0).abs() < 1e-12, "{x}: {y} {wanted}");
        }
    }

    #[test]
    fn values_lie_between_the_points() {
        let (xs, ys) = ([1.0, 2.0, 4.0], [10.0, 20.0, 30.0]);
        assert_eq!(between(&xs, &ys, 0.5), 10.0);
        assert_eq!(between(&xs, &ys, 3.0), 25.0);
        assert_eq!(between(&xs, &ys, 8.0), 60.0);
    }
}
