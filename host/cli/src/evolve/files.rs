//! The files of a directory: templates, filled in for the suite.

use super::plan::{Framework, InitPlan};
use super::task::task;
use windtunnel_policy::Hook;
use windtunnel_policy::lua::api;
use windtunnel_score::suite::SuiteSource;

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/evolve/", $name))
    };
}

/// Path below the directory, and text.
type File = (String, String);

/// All files of a directory.
pub fn of(framework: Framework, plan: &InitPlan) -> Vec<File> {
    let filled = |path: &str, text: &str| (path.to_owned(), fill(text, plan));
    match framework {
        Framework::Openevolve => vec![
            ("initial_policy.lua".into(), seed(&plan.hooks)),
            filled("evaluator.py", template!("openevolve/evaluator.py")),
            filled("config.yaml", template!("openevolve/config.yaml")),
            ("prompts/system_message.txt".into(), task(plan)),
            filled(
                "prompts/full_rewrite_user.txt",
                template!("openevolve/full_rewrite_user.txt"),
            ),
            filled(
                "prompts/diff_user.txt",
                template!("openevolve/diff_user.txt"),
            ),
            filled(
                "prompts/fragments.json",
                template!("openevolve/fragments.json"),
            ),
            filled("README.md", template!("openevolve/README.md")),
        ],
        Framework::Gepa => {
            let policies = plan.hooks.iter();
            let mut files: Vec<File> = policies
                .map(|hook| (format!("policy/{hook}.lua"), of_hook(*hook).to_owned()))
                .collect();
            files.extend([
                filled("run.py", template!("gepa/run.py")),
                filled("run_adapter.py", template!("gepa/run_adapter.py")),
                ("task.md".into(), task(plan)),
                filled("reflection.txt", template!("gepa/reflection.txt")),
                filled("README.md", template!("gepa/README.md")),
            ]);
            files
        }
        Framework::Shinka => vec![
            (
                "initial.lua".into(),
                format!(
                    "-- EVOLVE-BLOCK-START\n{}-- EVOLVE-BLOCK-END\n",
                    seed(&plan.hooks)
                ),
            ),
            filled("evaluate.py", template!("shinka/evaluate.py")),
            filled("run.py", template!("shinka/run.py")),
            ("task.md".into(), task(plan)),
            filled("README.md", template!("shinka/README.md")),
        ],
        Framework::Skydiscover => {
            let mut files = vec![
                ("initial_program.lua".into(), seed(&plan.hooks)),
                filled("evaluator.py", template!("skydiscover/evaluator.py")),
                filled("config.yaml", template!("skydiscover/config.yaml")),
                ("task.txt".into(), doubled(&task(plan))),
                filled("README.md", template!("skydiscover/README.md")),
            ];
            // A suite of the user's own is not in the container.
            if matches!(plan.suite.source, SuiteSource::Shipped(_)) {
                files.extend([
                    filled("evaluator/Dockerfile", template!("skydiscover/Dockerfile")),
                    filled(
                        "evaluator/evaluate.sh",
                        template!("skydiscover/evaluate.sh"),
                    ),
                ]);
            }
            files
        }
    }
}

/// Text with doubled braces, for templates that `str.format` fills in.
fn doubled(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// A text as a literal of Python, YAML and JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn fill(template: &str, plan: &InitPlan) -> String {
    let hooks: Vec<&str> = plan.hooks.iter().map(|hook| hook.name()).collect();
    let title = format!("Evolving {} on {}", hooks.join(" and "), plan.suite.label());
    let is_prose = template.starts_with("# @TITLE@");
    let suite = if is_prose {
        format!("`{}`", plan.suite_name)
    } else {
        quoted(&plan.suite_name)
    };
    let mut text = template
        .replace("@TITLE@", &title)
        .replace("@SUITE@", &suite)
        .replace("@EXAMPLE@", &example(&plan.hooks))
        .replace("@SCORES@", SCORES);
    if text.contains("@TASK@") {
        text = text.replace("@TASK@", task(plan).trim_end());
    }
    text
}

const SCORES: &str = "\
Scores: 0 is as good as the best of the suite's tuned reference policies in every scenario, +1 is 1 % less cost, -100 is a policy that fails. Look at
one with `windtunnel score POLICY`. What was found on the split train should be confirmed on others: `--split val`, and once, at the very end,
`--split holdout`.";

/// The functions of a file for these hooks, for a template in which braces are doubled.
fn example(hooks: &[Hook]) -> String {
    let function = |hook: &Hook| {
        let function = &api::hook_functions(*hook)[0];
        let takes: Vec<&str> = function.takes.iter().map(|slot| slot.name).collect();
        format!(
            "{} = function({}) ... end,",
            function.name,
            takes.join(", ")
        )
    };
    match hooks {
        [one] => function(one),
        all => {
            let sections = all
                .iter()
                .map(|hook| format!("{hook} = {{{{ {} }}}},", function(hook)));
            sections.collect::<Vec<_>>().join("\n  ")
        }
    }
}

fn of_hook(hook: Hook) -> &'static str {
    match hook {
        Hook::Admission => template!("seeds/admission.lua"),
        Hook::Routing => template!("seeds/routing.lua"),
        Hook::Priority => template!("seeds/priority.lua"),
        Hook::Scheduler => template!("seeds/scheduler.lua"),
        Hook::Preemption => template!("seeds/preemption.lua"),
        Hook::Disaggregation => template!("seeds/disaggregation.lua"),
        Hook::Batching => template!("seeds/batching.lua"),
        Hook::Dispatch => template!("seeds/dispatch.lua"),
        Hook::Scale => template!("seeds/scale.lua"),
    }
}

/// A policy to begin with, in one file: a section per hook where there are several.
fn seed(hooks: &[Hook]) -> String {
    if let [one] = hooks {
        return of_hook(*one).to_owned();
    }
    let mut text = String::new();
    for hook in hooks {
        text += &format!("local function {hook}()\n");
        for line in of_hook(*hook).lines() {
            let indent = if line.is_empty() { "" } else { "  " };
            text += &format!("{indent}{line}\n");
        }
        text += "end\n\n";
    }
    let sections: Vec<String> = hooks
        .iter()
        .map(|hook| format!("{hook} = {hook}()"))
        .collect();
    text + &format!("return {{ {} }}\n", sections.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use std::sync::Arc;
    use windtunnel_policy::lua::{Program, hooks_filled, lint};
    use windtunnel_score::Suite;

    fn plan(hooks: &[Hook]) -> InitPlan {
        InitPlan {
            suite: Suite::open("routing-mixed", None).expect("a suite"),
            suite_name: "routing-mixed".into(),
            hooks: hooks.to_vec(),
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for framework in Framework::value_variants() {
            for (path, text) in of(*framework, &plan(&[Hook::Admission, Hook::Routing])) {
                let left = text.split('@').skip(1).step_by(2);
                let mut left = left.filter(|word| {
                    !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase())
                });
                assert_eq!(left.next(), None, "{path}");
                assert!(text.ends_with('\n'), "{path}");
            }
        }
    }

    #[test]
    fn every_seed_fills_its_hooks_without_a_warning() {
        let mut sets: Vec<Vec<Hook>> = Hook::ALL.map(|hook| vec![hook]).to_vec();
        sets.push(Hook::ALL.to_vec());
        for hooks in sets {
            let program = Program::new("seed.lua", seed(&hooks), &[], false).expect("a program");
            assert!(!program.declared.is_empty());
            assert_eq!(lint(&program).expect("readable").len(), 0, "{hooks:?}");
            let filled = hooks_filled(&Arc::new(program));
            assert_eq!(filled.expect("loads"), hooks);
        }
    }

    #[test]
    fn a_prompt_that_is_formatted_has_its_braces_doubled() {
        let text = doubled("return { route = f }");
        assert_eq!(text, "return {{ route = f }}");
        let files = of(
            Framework::Openevolve,
            &plan(&[Hook::Admission, Hook::Routing]),
        );
        let rewrite = files
            .iter()
            .find(|(path, _)| path.ends_with("full_rewrite_user.txt"));
        let (_, text) = rewrite.expect("it is there");
        assert!(text.contains("admission = {{ admit = function(req, cluster) ... end, }},"));
    }
}
