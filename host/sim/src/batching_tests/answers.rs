//! Answers of scripts: what is cut to the engine's limits, what is refused, and where.

use super::{Affine, engine, run, script};
use windtunnel_engine::instance::EngineRules;

/// A file whose function `batch` has this body, from its third line on.
fn body(text: &str) -> String {
    format!("local n = 0\nreturn {{ batch = function(step, head, queue)\n{text}\nend }}\n")
}

/// What the run of three requests says, the last of which comes alone.
fn fault(text: &str) -> String {
    let mut config = engine(EngineRules::VLLM, false);
    config.max_num_seqs = 2;
    config.max_num_batched_tokens = 100;
    let shapes = [(0, 10, 5), (0, 30, 5), (5_000, 10, 5)];
    let ran = run(config, Affine(1, 0), script(&body(text)), &shapes);
    ran.fault.unwrap_or_default()
}

#[test]
fn a_bad_answer_ends_the_run_with_its_place() {
    let at = |step: u32, what: &str| {
        format!("the batching strategy failed at step {step}: b.lua:2: {what}")
    };
    let limits = "max_new_tokens, max_prefill_tokens, max_admissions, hold_until_us, decodes_wait";
    let number = "expected a number of 0 or more";
    for (answer, what) in [
        (
            "-1",
            format!("batch returned -1; expected a table with any of {limits}"),
        ),
        (
            "nil",
            format!("batch returned nothing (nil); expected a table with any of {limits}"),
        ),
        (
            "{ max_new_tokens = -1 }",
            format!("batch, as max_new_tokens, returned -1; {number}"),
        ),
        (
            "{ max_admissions = 0 / 0 }",
            format!("batch, as max_admissions, returned NaN; {number}"),
        ),
        (
            "{ hold_until_us = 'soon' }",
            format!("batch, as hold_until_us, returned the text \"soon\"; {number}"),
        ),
        (
            "{ decodes_wait = 1 }",
            "batch, as decodes_wait, returned 1; expected true or false".into(),
        ),
        (
            "{ max_admission = 1 }",
            format!(
                "batch, as the name of a limit, returned the text \"max_admission\"; expected {limits}"
            ),
        ),
        (
            "{ max_prefill_tokens = 0 }",
            "batch: max_prefill_tokens is 0; expected 1 or more".into(),
        ),
    ] {
        assert_eq!(fault(&format!("return {answer}")), at(0, &what));
    }
    let raised = fault("n += 1 if n == 4 then error('enough') end return {}");
    assert_eq!(
        raised,
        "the batching strategy failed at step 3: b.lua:3: enough"
    );
}

/// An answer after which nothing would ever happen is no endless wait.
#[test]
fn who_lets_everybody_wait_for_ever_is_refused() {
    let stuck = |now: u32, waiting: u32| {
        format!(
            "b.lua:2: batch: it admits nobody, requests wait ({waiting}) and nothing runs; expected max_admissions \
             and max_new_tokens of 1 or more, or a hold_until_us after now ({now})"
        )
    };
    for answer in [
        "{ max_admissions = 0 }",
        "{ max_new_tokens = 0 }",
        "{ max_admissions = 0, hold_until_us = queue.now_us }",
        "{ max_admissions = 0, hold_until_us = math.huge }",
    ] {
        let said = fault(&format!("return {answer}"));
        assert!(said.contains(&stuck(0, 2)), "{answer}: {said}");
    }
    // Only when the others are done.
    let later = fault("return { max_admissions = if queue.now_us < 4000 then nil else 0 }");
    assert!(later.contains(&stuck(5_000, 1)), "{later}");
    let running = fault("n += 1 return { max_new_tokens = if n < 3 then nil else 0 }");
    assert!(
        running.contains("max_new_tokens is 0 and requests run (2); expected 1 or more"),
        "{running}"
    );
    // It sleeps, and is asked again, until it admits somebody.
    assert_eq!(
        fault(
            "return { max_admissions = if queue.now_us < 900 then 0 else nil, hold_until_us = queue.now_us + 100 }"
        ),
        ""
    );
}

/// Limits beyond the engine's own are those of the engine.
#[test]
fn limits_are_cut_to_the_engines_own() {
    let own = body("return {}");
    let most = body(
        "return { max_new_tokens = math.huge, max_prefill_tokens = 1e9, max_admissions = 1e300, hold_until_us = 0 }",
    );
    let fractions = body("return { max_admissions = step.free_places + 0.5 }");
    let result = |text: &str| {
        let mut config = engine(EngineRules::VLLM, false);
        (config.max_num_seqs, config.max_num_batched_tokens) = (2, 25);
        let shapes = [(0, 10, 5), (0, 30, 5), (5_000, 10, 5)];
        run(config, Affine(1, 0), script(text), &shapes).said()
    };
    assert_eq!(result(&own), result(&most));
    assert_eq!(result(&own), result(&fractions));
}

/// A prompt that is not to be cut and has no room in a step of the policy's size is its fault, and
/// not dropped.
#[test]
fn a_step_too_small_for_a_whole_prompt_is_refused() {
    let mut config = engine(EngineRules::VLLM, false);
    config.scheduling.enable_chunked_prefill = false;
    config.max_num_batched_tokens = 100;
    let strategy = script(&body("return { max_new_tokens = 5 }"));
    let ran = run(config, Affine(1, 0), strategy, &[(0, 10, 5)]);
    let fault = ran.fault.expect("a fault");
    assert!(
        fault.starts_with(
            "the batching strategy failed at step 0: max_new_tokens is 5, and nothing runs;"
        ),
        "{fault}"
    );
    assert_eq!(ran.totals.dropped, 0);
}

/// It is asked once for each step, and sees the step as it is.
#[test]
fn a_script_sees_the_step() {
    let text = body(
        "local sum = step.prefilling + step.decoding
         if sum ~= queue.batch_size then error('other') end
         if (head == nil) ~= (queue.queue_depth == 0) then error('head') end
         local first = if step.step == 0 then 10 else 30
         if head and head.prompt_tokens + head.enqueued_us ~= first then error('which head') end
         if step.step == 2 and step.decoding == 1 and step.decode_context_tokens ~= 11 then error('context') end
         if step.step == 1 and (step.free_places ~= 1 or step.running_prefill_tokens ~= 0) then error('places') end
         if est_step_us(10) < 100 then error('estimate') end
         n += 1
         if n ~= step.step + 1 then error('asked ' .. n .. ' times') end
         return { max_admissions = if queue.batch_size == 0 then 1 else 0 }",
    );
    let rules = EngineRules {
        async_scheduling: false,
        ..EngineRules::VLLM
    };
    let mut config = engine(rules, false);
    config.max_num_seqs = 2;
    let ran = run(
        config,
        Affine(1, 0),
        script(&text),
        &[(0, 10, 6), (20, 10, 2)],
    );
    assert_eq!(ran.fault, None);
    assert_eq!(ran.records[&0].e2e_us, Some(610));
}
