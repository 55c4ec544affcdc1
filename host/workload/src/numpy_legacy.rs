//! The random numbers of numpy's legacy generator: MT19937 seeded by one number, and normal
//! deviates by the polar method. Only what must repeat a Python program's traffic draws from it.

use super::python_random::uniform;
use rand_mt::Mt;

/// `numpy.random.seed(seed)`, then `numpy.random.normal(...)`.
#[derive(Clone, Debug)]
pub struct NumpyLegacy {
    twister: Mt,
    /// The second deviate of a pair.
    spare: Option<f64>,
}

impl NumpyLegacy {
    /// Seeded as `numpy.random.seed` does with a number below 2^32.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self {
            twister: Mt::new(seed),
            spare: None,
        }
    }

    /// A normal deviate; one is drawn even if the deviation is 0.
    pub fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let standard = self.spare.take().unwrap_or_else(|| {
            loop {
                let x1 = 2.0 * uniform(&mut self.twister) - 1.0;
                let x2 = 2.0 * uniform(&mut self.twister) - 1.0;
                let r2 = x1 * x1 + x2 * x2;
                if r2 < 1.0 && r2 != 0.0 {
                    let factor = (-2.0 * r2.ln() / r2).sqrt();
                    self.spare = Some(factor * x1);
                    break factor * x2;
                }
            }
        });
        mean + deviation * standard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_those_of_numpy() {
        // numpy 2.3.1: np.random.seed(42); np.random.normal(10, 5, 50).
        let expected = [
            12.483570765056164,
            9.308678494144077,
            13.238442690503462,
            17.61514928204013,
            8.82923312638332,
            8.829315215254097,
            17.896064077536955,
            13.837173645764544,
            7.652628070325239,
            12.712800217929823,
            7.682911535937689,
            7.671351232148716,
            11.209811357830171,
            0.4335987767110101,
            1.3754108374348366,
            7.188562353795136,
            4.935844398327881,
            11.57123666297637,
            5.459879622393945,
            2.9384814933235424,
            17.32824384460777,
            8.871118497567322,
            10.33764102343962,
            2.8762590689327165,
            7.278086377374087,
            10.55461294854933,
            4.245032112888486,
            11.87849009172836,
            6.996806550405975,
            8.541531251033616,
            6.991466938853016,
            19.261390922544688,
            9.932513876310331,
            4.711445355220498,
            14.112724560515945,
            3.895781750144889,
            11.044317975023777,
            0.20164938060112192,
            3.3590697555078473,
            10.984306179345618,
            13.692332899977053,
            10.856841405949853,
            9.421758588058797,
            8.494481522053556,
            2.6073900481628627,
            6.400778958026457,
            7.696806145201062,
            15.285611131094578,
            11.718091447842307,
            1.1847992231863298,
        ];
        let mut numpy = NumpyLegacy::new(42);
        for (k, want) in expected.into_iter().enumerate() {
            let drawn = numpy.normal(10.0, 5.0);
            assert!((drawn - want).abs() < 1e-12, "{k}: {drawn}, not {want}");
        }
        // A draw is made although nothing hangs on it.
        let (mut a, mut b) = (NumpyLegacy::new(7), NumpyLegacy::new(7));
        assert_eq!(a.normal(3.0, 0.0), 3.0);
        b.normal(0.0, 1.0);
        assert_eq!(a.normal(0.0, 1.0), b.normal(0.0, 1.0));
    }
}
