//! What a GPU takes and costs while it is there. The build script is made of this file,
//! too: what is done with the figures stands beside the GPUs.

use std::fmt;

/// Power and price of a GPU. What nobody knows is absent, and never counts as 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Upkeep {
    /// Most power that it takes for long, watts: thermal design power, the limit that it is shipped
    /// with.
    pub tdp_w: Option<f64>,
    /// Power while it computes nothing and holds a model, watts.
    pub idle_w: Option<f64>,
    /// What an hour costs, US dollars: the lowest and the highest price that were found.
    pub usd_per_hour: Option<[f64; 2]>,
}

impl Upkeep {
    /// Refuses figures that cannot be.
    ///
    /// # Errors
    /// Names the first one, as found and as expected.
    pub fn check(&self) -> Result<(), Wrong> {
        let [low, high] = self.usd_per_hour.map_or([None; 2], |p| p.map(Some));
        let all = [
            ("power", self.tdp_w),
            ("idle power", self.idle_w),
            ("price", low),
            ("price", high),
        ];
        for (what, value) in all {
            if let Some(found) = value.filter(|x| !(x.is_finite() && *x > 0.0)) {
                return Err(Wrong {
                    what,
                    found: found.to_string(),
                    expected: "a finite number above 0",
                });
            }
        }
        if let (Some(idle), tdp) = (self.idle_w, self.tdp_w)
            && tdp.is_none_or(|tdp| idle > tdp)
        {
            return Err(Wrong {
                what: "idle power",
                found: format!("{idle} W"),
                expected: "at most the power under load, which must be given, too",
            });
        }
        match (low, high) {
            (Some(low), Some(high)) if low > high => Err(Wrong {
                what: "price",
                found: format!("{low} to {high}"),
                expected: "the lowest before the highest",
            }),
            _ => Ok(()),
        }
    }
}

/// A figure that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which.
    pub what: &'static str,
    /// Its value.
    pub found: String,
    /// What it should be.
    pub expected: &'static str,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            found,
            expected,
        } = self;
        write!(f, "{what} is {found}; expected {expected}")
    }
}
