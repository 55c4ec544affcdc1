//! Windows in parts: the gaps of a part are drawn once before its first request, to know their sum,
//! so what all open windows draw ahead must not grow with their rates.

use super::groups::Group;
use super::locate::Fault;
use super::planned::Counted;
use super::rates::Rates;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Requests of a part, where the spec as a whole draws few ahead.
const PART: f64 = 65_536.0;
/// The least part.
const LEAST_PART: f64 = 16.0;
/// Most gaps that all clients together draw ahead; a second's work.
const MOST_AHEAD: f64 = 16_777_216.0;
/// Most parts of all groups.
const MOST_PARTS: f64 = 1_048_576.0;
/// Most requests of a window.
pub(super) const MOST_IN_WINDOW: f64 = 2_147_483_647.0;
/// Most windows that share an aggregate rate: who meets whom is looked at pair by pair.
const MOST_SHARING: usize = 30_000;

/// A window: from, to, and how many requests each client sends in it.
pub(super) type Expected = (i64, i64, f64);

/// The most that one client draws ahead at any time with parts of `size`.
fn peak(windows: &[Expected], size: f64) -> f64 {
    let mut by_start: Vec<&Expected> = windows.iter().collect();
    by_start.sort_by_key(|w| w.0);
    let (mut open, mut sum, mut most) = (BinaryHeap::new(), 0.0, 0.0f64);
    for (start, end, expected) in by_start {
        while let Some(Reverse((ended, bits))) = open.peek().copied() {
            if ended > *start {
                break;
            }
            open.pop();
            sum -= f64::from_bits(bits);
        }
        let part = expected.min(size);
        open.push(Reverse((*end, part.to_bits())));
        sum += part;
        most = most.max(sum);
    }
    most
}

/// Into how many parts a window is split.
fn parts((start_us, end_us, expected): Expected, size: f64) -> i64 {
    let enough = ((expected / size) as i64).saturating_add(1);
    enough.min((end_us - start_us).max(1))
}

/// A window in parts of equal length.
pub(super) fn split(window: Counted, size: f64) -> impl Iterator<Item = Counted> {
    let (start_us, end_us) = (window.start_us, window.end_us);
    let parts = parts((start_us, end_us, window.expected), size);
    let at = move |part: i64| {
        let length = i128::from(end_us - start_us);
        start_us + (length * i128::from(part) / i128::from(parts)) as i64
    };
    (0..parts).map(move |part| Counted {
        start_us: at(part),
        end_us: at(part + 1),
        expected: window.expected / parts as f64,
        ..window.clone()
    })
}

/// Requests of a part, `usual` ones or fewer, for groups of so many equal clients.
///
/// # Errors
/// When even small parts would be too many.
pub(super) fn part_size(usual: f64, groups: &[(f64, Vec<Expected>)]) -> Result<f64, Fault> {
    let mut size = usual;
    let ahead = |size: f64| -> f64 {
        let of = |(clients, windows): &(f64, Vec<Expected>)| clients * peak(windows, size);
        groups.iter().map(of).sum()
    };
    while ahead(size) > MOST_AHEAD {
        if size <= LEAST_PART || size.is_nan() {
            let message = format!(
                "the clients have too many windows open at once: more than {MOST_AHEAD} requests are drawn before the first is sent"
            );
            return Err(Fault::new("", message));
        }
        size /= 2.0;
    }
    let all = groups.iter().flat_map(|(_, windows)| windows);
    let number: f64 = all.map(|w| parts(*w, size) as f64).sum();
    if number > MOST_PARTS {
        let message = format!(
            "the windows are drawn in {number} parts of {size} requests of a client each; at most {MOST_PARTS} make sense"
        );
        return Err(Fault::new("", message));
    }
    Ok(size)
}

/// Requests of a part of the windows of a spec.
///
/// # Errors
/// As [`part_size`].
pub(super) fn of_groups(groups: &[Group], rates: &[Rates]) -> Result<f64, Fault> {
    let counted = groups.iter().zip(rates).filter_map(|(group, rates)| {
        let Rates::PerWindow(rates) = rates else {
            return None;
        };
        let clients = f64::from(group.population());
        let windows = group.windows().unwrap_or_default().iter().zip(rates);
        let expected = windows.map(|(w, rate)| {
            let seconds = (w.end_us - w.start_us) as f64 / 1e6;
            // What is more is refused for its window.
            let expected = (rate / clients * seconds).min(MOST_IN_WINDOW);
            (w.start_us, w.end_us, expected)
        });
        Some((clients, expected.collect()))
    });
    let counted: Vec<(f64, Vec<Expected>)> = counted.collect();
    part_size(PART, &counted)
}

/// Refuses more windows than can share an aggregate rate in reasonable time.
///
/// # Errors
/// When there are too many.
pub(super) fn check_sharing(groups: &[Group]) -> Result<(), Fault> {
    let sharing = groups.iter().filter(|g| !g.own_rates);
    let windows: usize = sharing.map(|g| g.windows().map_or(0, <[_]>::len)).sum();
    if windows > MOST_SHARING {
        let message =
            format!("{windows} windows share an aggregate rate; at most {MOST_SHARING} make sense");
        return Err(Fault::new("clients", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_that_draw_much_and_many_that_draw_little_have_the_usual_parts() {
        let hour = 3_600_000_000;
        let one = |expected| vec![(0, hour, expected)];
        assert_eq!(part_size(PART, &[(1.0, one(2e9))]).ok(), Some(PART));
        assert_eq!(part_size(PART, &[(1e5, one(100.0))]).ok(), Some(PART));
        assert_eq!(part_size(PART, &[(256.0, one(1e6))]).ok(), Some(PART));
        assert_eq!(
            part_size(PART, &[(1024.0, one(1e6))]).ok(),
            Some(PART / 4.0)
        );
        assert_eq!(part_size(PART, &[(1e6, one(1e6))]).ok(), Some(LEAST_PART));
        assert!(
            part_size(PART, &[(1e6, one(1e9))]).is_err(),
            "too many parts"
        );
        let overlapping: Vec<Expected> = (0..200).map(|k| (k, hour, 100.0)).collect();
        assert!(part_size(PART, &[(1e6, overlapping)]).is_err());
        let after: Vec<Expected> = (0..200).map(|k| (k * hour, (k + 1) * hour, 1e5)).collect();
        assert_eq!(part_size(PART, &[(200.0, after)]).ok(), Some(PART));
    }
}
