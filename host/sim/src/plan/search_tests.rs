use super::*;

/// Instances that a candidate needs, each of so many GPUs; by seed a little more or less.
fn trial(needs: u32, gpus: u32, number: u32, seed: u64) -> Trial {
    let needs = needs + [0, 1, 0, 2, 0][seed as usize % 5];
    let share = f64::from(needs) / f64::from(number);
    Trial {
        figures: vec![Some(share)],
        met: number >= needs,
        use_of_limits: Some(share),
        gpus: u64::from(gpus * number),
        prefill_instances: 0,
        usd_per_hour: Some(f64::from(gpus * number) * 2.0),
        arrivals_per_s: f64::from(needs),
        completed_per_s: f64::from(number.min(needs)),
        arrivals: 100,
        good_tokens_per_s: 1e3,
        joules_per_token: None,
        gpu_hours: None,
        usd: None,
        peak_s: 1.0,
    }
}

fn plan(needs: &[(u32, u32)], of_loads: bool, jobs: usize) -> Plan {
    let candidate = |_: &(u32, u32)| Candidate {
        range: [1, 40],
        start: None,
    };
    search(&Problem {
        candidates: needs.iter().map(candidate).collect(),
        seeds: 5,
        jobs,
        run: &|k, number, seed| match needs[k] {
            (0, _) => Err(InputError::new("does not fit")),
            (n, gpus) if of_loads => Ok(Trial {
                // So much load is too much.
                met: number < n + [0, 1, 0, 2, 0][seed as usize % 5],
                ..trial(n, gpus, number, seed)
            }),
            (n, gpus) => Ok(trial(n, gpus, number, seed)),
        },
        of_loads,
        progress: &|_| (),
    })
    .expect("a plan")
}

#[test]
fn every_candidate_gets_its_verdict() {
    let plan = plan(
        &[(6, 1), (0, 1), (50, 1), (3, 4), (30, 8), (4, 2)],
        false,
        2,
    );
    let Verdict::Fits(best) = &plan.verdicts[0] else {
        panic!("{:?}", plan.verdicts[0])
    };
    assert_eq!(
        (best.number, best.by_seed.as_slice()),
        (6, &[6, 7, 6, 8, 6][..])
    );
    assert!(best.trials.len() == 5 && best.beyond.len() == 5);
    assert!(matches!(plan.verdicts[1], Verdict::Impossible(_)));
    assert!(matches!(plan.verdicts[2], Verdict::NotAtAny(40, _)));
    // Twice the cost: one seed is enough to say so.
    let Verdict::Fits(dearer) = &plan.verdicts[3] else {
        panic!("{:?}", plan.verdicts[3])
    };
    assert_eq!((dearer.number, dearer.trials.len()), (3, 1));
    let Verdict::Fits(near) = &plan.verdicts[5] else {
        panic!("{:?}", plan.verdicts[5])
    };
    assert_eq!((near.number, near.trials.len()), (4, 5));
}

#[test]
fn what_must_be_dearer_is_not_searched() {
    let mut needs = vec![(2, 1); ROUND];
    needs.push((30, 8));
    let plan = plan(&needs, false, 2);
    assert!(matches!(plan.verdicts[ROUND], Verdict::Dearer(27, _)));
}

#[test]
fn the_most_load_is_the_last_that_is_met() {
    let plan = plan(&[(6, 1), (1, 1)], true, 1);
    let Verdict::Fits(found) = &plan.verdicts[0] else {
        panic!("{:?}", plan.verdicts[0])
    };
    assert_eq!(
        (found.number, found.by_seed.as_slice()),
        (5, &[5, 6, 5, 7, 5][..])
    );
    assert!(matches!(plan.verdicts[1], Verdict::NotAtAny(..)));
}

#[test]
fn a_plan_does_not_depend_on_the_number_of_threads() {
    let needs = [
        (6, 1),
        (9, 2),
        (0, 1),
        (50, 1),
        (3, 4),
        (12, 1),
        (7, 2),
        (8, 1),
        (5, 1),
        (30, 8),
    ];
    let [one, many] = [1, 4].map(|jobs| plan(&needs, false, jobs));
    assert_eq!(
        format!("{:?}", one.verdicts),
        format!("{:?}", many.verdicts)
    );
    assert_eq!(one.runs, many.runs);
}

#[test]
fn intervals_are_students() {
    let (mean, ends) = interval(&[1.0, 2.0, 3.0]);
    let [low, high] = ends.expect("three values");
    assert!(mean == 2.0 && (high - mean - 2.484).abs() < 1e-3 && (mean - low - 2.484).abs() < 1e-3);
    assert_eq!(interval(&[1.0]), (1.0, None));
}
