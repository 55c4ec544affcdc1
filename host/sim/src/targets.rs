//! The targets that a run is judged by are the targets that its policies are told.

use windtunnel_base::request::{Request, Symbols};
use windtunnel_results::metrics::slo::{DEFAULT_CLASS, Dimension, SloTargets};

/// What requests of classes without a target on the time to first token are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untargeted {
    /// What their workload says: they are judged by that.
    AsTheWorkload,
    /// That there is none: they are judged by none.
    Nothing,
}

/// Writes the targets by which requests are judged into them, where policies read them.
pub struct TargetTeller<'a> {
    targets: &'a SloTargets,
    untargeted: Untargeted,
    /// By class symbol: `slo_ttft_us`, if the class has a target.
    by_class: Vec<Option<Option<i64>>>,
}

impl<'a> TargetTeller<'a> {
    /// Tells `targets`.
    #[must_use]
    pub fn new(targets: &'a SloTargets, untargeted: Untargeted) -> Self {
        Self {
            targets,
            untargeted,
            by_class: Vec::new(),
        }
    }

    /// Sets `slo_ttft_us` of a request, whose names are in `symbols`.
    pub fn tell(&mut self, request: &mut Request, symbols: &Symbols) {
        let at = request.slo_class.0 as usize;
        if self.by_class.len() <= at {
            self.by_class.resize(at + 1, None);
        }
        let told = *self.by_class[at]
            .get_or_insert_with(|| told_us(self.targets, symbols.name(request.slo_class)));
        match (told, self.untargeted) {
            (Some(us), _) => request.slo_ttft_us = us,
            (None, Untargeted::Nothing) => request.slo_ttft_us = 0,
            (None, Untargeted::AsTheWorkload) => {}
        }
    }
}

/// What a request of `class` is told of the target on its time to first token, microseconds; `None`
/// if the class has none. Times are whole microseconds, so cutting a fraction off judges alike.
#[must_use]
pub fn told_us(targets: &SloTargets, class: &str) -> Option<i64> {
    let us = targets.target_us(class, Dimension::Ttft)?;
    Some((us as i64).max(1))
}

/// What policies are told of the targets of requests without a class: time to first token, mean
/// inter-token latency and end-to-end latency, microseconds; 0 = none.
#[must_use]
pub fn told_of_all(targets: &SloTargets) -> [i64; 3] {
    Dimension::ALL.map(|dimension| {
        let us = targets.target_us(DEFAULT_CLASS, dimension);
        us.map_or(0, |us| (us as i64).max(1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::request::{RequestId, TokenSeq};

    #[test]
    fn a_request_is_told_the_target_of_its_class() {
        let mut targets = SloTargets::default();
        targets
            .parse(
                Dimension::Ttft,
                "`slo_ttft`",
                "critical=200.5us,default=3ms",
            )
            .unwrap();
        targets
            .parse(Dimension::E2e, "`slo_e2e`", "batch=1s")
            .unwrap();
        let mut symbols = Symbols::default();
        let mut told = |class: &str, untargeted| {
            let (prompt, answer) = (TokenSeq::default(), TokenSeq::default());
            let mut request = Request::new(RequestId::Number(0), 0, prompt, answer);
            request.slo_ttft_us = 77;
            request.slo_class = symbols.intern(class);
            TargetTeller::new(&targets, untargeted).tell(&mut request, &symbols);
            request.slo_ttft_us
        };
        for untargeted in [Untargeted::AsTheWorkload, Untargeted::Nothing] {
            assert_eq!(told("critical", untargeted), 200);
            assert_eq!(
                told("", untargeted),
                3000,
                "without a class it is `default`"
            );
        }
        assert_eq!(told("batch", Untargeted::AsTheWorkload), 77);
        assert_eq!(told("batch", Untargeted::Nothing), 0);
    }
}
