//! Who sends at which rate: shares of an aggregate rate, or rates of their own.
//!
//! * Shares are of the clients that are active at the same time: rate = A f / (sum of f over all
//!   whose windows overlap any of its own; a client without windows overlaps all). One constant
//!   rate per client; what falls outside its windows is not sent.
//! * If any window of the spec sets a rate, an arrival process or lengths, each window counts for
//!   itself: its rate is A t / (sum of t), t being its `trace_rate` (or the client's
//!   `rate_fraction`) and the sum going over the first overlapping window of every client; it sends
//!   rate x length requests. Clients without windows keep a constant rate.
//! * Without an aggregate rate, `trace_rate` is in requests per second.

use super::groups::Group;
use super::locate::Fault;
use super::types::Window;

/// Rates of a group, requests per second, all members together.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rates {
    /// At one rate, in the windows or always.
    Steady(f64),
    /// At a rate per window.
    PerWindow(Vec<f64>),
    /// Closed loop: as fast as answers come.
    Users,
}

/// The rates of all groups.
pub(super) fn rates(
    groups: &[Group],
    aggregate: f64,
    per_window: bool,
) -> Result<Vec<Rates>, Fault> {
    if !(aggregate.is_finite() && aggregate >= 0.0) {
        return Err(Fault::new(
            "aggregate_rate",
            format!("expected a finite number of 0 or more, found {aggregate}"),
        ));
    }
    let rate = |g: &Group| {
        if g.client.concurrency > 0 {
            return Ok(Rates::Users);
        }
        if g.own_rates || aggregate == 0.0 {
            return absolute(g);
        }
        let fraction = g.client.rate_fraction;
        if !(fraction.is_finite() && fraction > 0.0) {
            let message = format!("expected a finite number above 0, found {fraction}");
            return Err(Fault::new("rate_fraction", message));
        }
        match g.windows() {
            Some(windows) if per_window => {
                let share = |(k, w): (usize, &Window)| {
                    let t = weight(g, w);
                    if !(t.is_finite() && t > 0.0) {
                        let path = format!("lifecycle.windows[{k}].trace_rate");
                        return Err(Fault::new(
                            path,
                            format!("expected a finite number above 0, found {t}"),
                        ));
                    }
                    Ok(aggregate * t / co_active(groups, std::slice::from_ref(w), per_window))
                };
                let rates: Result<_, Fault> = windows.iter().enumerate().map(share).collect();
                Ok(Rates::PerWindow(rates?))
            }
            Some(windows) => Ok(Rates::Steady(
                aggregate * fraction / co_active(groups, windows, per_window),
            )),
            None => {
                let all = groups
                    .iter()
                    .filter(|o| shares(o))
                    .map(|o| first_weight(o, None, per_window));
                Ok(Rates::Steady(aggregate * fraction / all.sum::<f64>()))
            }
        }
    };
    groups
        .iter()
        .map(|g| rate(g).map_err(|f| f.under(&g.path)))
        .collect()
}

/// Does the group take part in sharing the aggregate rate?
fn shares(g: &Group) -> bool {
    g.client.concurrency == 0 && !g.own_rates
}

fn weight(g: &Group, window: &Window) -> f64 {
    window.trace_rate.unwrap_or(g.client.rate_fraction)
}

fn overlap(a: &Window, b: &Window) -> bool {
    a.start_us < b.end_us && b.start_us < a.end_us
}

/// Share that a group claims beside somebody active in `windows` (`None` = always): 0 where they
/// never meet.
fn first_weight(g: &Group, windows: Option<&[Window]>, per_window: bool) -> f64 {
    let Some(own) = g.windows() else {
        return g.client.rate_fraction;
    };
    let meets = |w: &&Window| windows.is_none_or(|others| others.iter().any(|o| overlap(w, o)));
    match own.iter().find(meets) {
        Some(w) if per_window => weight(g, w),
        Some(_) => g.client.rate_fraction,
        None => 0.0,
    }
}

fn co_active(groups: &[Group], windows: &[Window], per_window: bool) -> f64 {
    groups
        .iter()
        .filter(|o| shares(o))
        .map(|o| first_weight(o, Some(windows), per_window))
        .sum()
}

/// Every window says its rate.
fn absolute(g: &Group) -> Result<Rates, Fault> {
    let Some(windows) = g.windows() else {
        let message = "without aggregate_rate, every client and cohort needs windows with a trace_rate each; or give aggregate_rate";
        return Err(Fault::new("", message));
    };
    let rate = |(k, w): (usize, &Window)| match w.trace_rate {
        Some(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        Some(rate) => {
            let path = format!("lifecycle.windows[{k}].trace_rate");
            Err(Fault::new(
                path,
                format!("expected a finite number above 0, found {rate}"),
            ))
        }
        None => {
            let path = format!("lifecycle.windows[{k}]");
            Err(Fault::new(
                path,
                "without aggregate_rate, each window needs a trace_rate",
            ))
        }
    };
    let rates: Result<_, Fault> = windows.iter().enumerate().map(rate).collect();
    Ok(Rates::PerWindow(rates?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::groups::groups;
    use crate::spec::types::WorkloadSpec;

    fn of(text: &str) -> Result<Vec<Rates>, Fault> {
        let spec: WorkloadSpec = windtunnel_base::input::parse_yaml("f", text).unwrap();
        let all = groups(&spec)?;
        let per_window = all.iter().any(|g| g.sets_windows());
        rates(&all, spec.aggregate_rate, per_window)
    }

    #[test]
    fn shares_need_not_sum_to_one() {
        let found = of(
            "aggregate_rate: 30\nclients: [{rate_fraction: 1}, {rate_fraction: 2}, {concurrency: 5}]\n",
        );
        assert_eq!(
            found,
            Ok(vec![Rates::Steady(10.0), Rates::Steady(20.0), Rates::Users])
        );
    }

    #[test]
    fn those_that_never_meet_do_not_share() {
        let text = "aggregate_rate: 30\nclients:\n\
            - {rate_fraction: 1, lifecycle: {windows: [{start_us: 0, end_us: 5}]}}\n\
            - {rate_fraction: 2, lifecycle: {windows: [{start_us: 5, end_us: 9}, {start_us: 10, end_us: 12}]}}\n\
            - {rate_fraction: 3, lifecycle: {windows: [{start_us: 11, end_us: 12}]}}\n";
        let steady = |rates: [f64; 3]| Ok(rates.map(Rates::Steady).to_vec());
        assert_eq!(of(text), steady([30.0, 12.0, 18.0]));
        let always = format!("{text}- {{rate_fraction: 1}}\n");
        let Ok(found) = of(&always) else {
            panic!("refused")
        };
        assert_eq!(found[0], Rates::Steady(15.0));
        assert_eq!(found[3], Rates::Steady(30.0 / 7.0));
    }

    #[test]
    fn a_spike_shares_with_who_is_always_there() {
        // Acceptance check of the format: 8 of 8.5 shares of 10 requests/s, in four members.
        let text = "aggregate_rate: 10\nclients: [{rate_fraction: 0.5}]\n\
            cohorts: [{id: c, population: 4, rate_fraction: 1, spike: {start_time_us: 0, duration_us: 10, trace_rate: 8}}]\n";
        let found = of(text).unwrap();
        assert_eq!(found[0], Rates::Steady(10.0 * 0.5 / 8.5));
        assert_eq!(found[1], Rates::PerWindow(vec![10.0 * 8.0 / 8.5]));
    }

    #[test]
    fn without_an_aggregate_rate_windows_say_theirs() {
        let spike = "cohorts: [{id: c, population: 4, rate_fraction: 1, spike: {start_time_us: 0, duration_us: 10, trace_rate: 8}}]\n";
        assert_eq!(of(spike), Ok(vec![Rates::PerWindow(vec![8.0])]));
        let error = of("clients: [{rate_fraction: 1}]\n").unwrap_err();
        let error = windtunnel_base::input::InputError::from(error).to_string();
        assert!(
            error.starts_with("clients[0]: without aggregate_rate, every client"),
            "{error}"
        );
    }
}
