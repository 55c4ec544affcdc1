//! The least number at which a predicate is true that stays true above.

use windtunnel_base::input::InputError;

/// The least of `range` at which `is_true`, looked for from `start` with steps that begin with
/// `step` and double; `None` if it is false wherever it was asked, up to the end.
pub fn least(
    range: [u32; 2],
    start: u32,
    step: u32,
    mut is_true: impl FnMut(u32) -> Result<bool, InputError>,
) -> Result<Option<u32>, InputError> {
    let [first, last] = range;
    let start = start.clamp(first, last);
    let mut step = step.max(1);
    // Known to be false and to be true; one before the first is false, so to say.
    let (mut low, mut high);
    if is_true(start)? {
        high = start;
        loop {
            if high == first {
                return Ok(Some(first));
            }
            let next = high.saturating_sub(step).max(first);
            if !is_true(next)? {
                low = next;
                break;
            }
            high = next;
            step = step.saturating_mul(2);
        }
    } else {
        low = start;
        loop {
            if low == last {
                return Ok(None);
            }
            let next = low.saturating_add(step).min(last);
            if is_true(next)? {
                high = next;
                break;
            }
            low = next;
            step = step.saturating_mul(2);
        }
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_true(middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(Some(high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_least_is_found_from_anywhere(
            first in 0u32..5,
            length in 0u32..300,
            at in 0u32..400,
            start in 0u32..400,
            step in 0u32..50,
        ) {
            let last = first + length;
            let mut asked = 0;
            let found = least([first, last], start, step, |n| {
                assert!((first..=last).contains(&n));
                asked += 1;
                Ok(n >= at)
            });
            let expected = (at <= last).then_some(at.max(first));
            prop_assert_eq!(found.expect("no error"), expected);
            prop_assert!(asked <= 24, "{} looks", asked);
        }
    }
}
