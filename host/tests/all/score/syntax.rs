//! Policy files that are no Luau, and Luau that a parser stumbles over: told with their line, by
//! the check and by a score, and never the end of a process.

use super::harness::Scoring;
use crate::support::windtunnel;

#[test]
fn what_is_no_luau_is_a_syntax_error_with_its_line() {
    let scoring = Scoring::new();
    let file = scoring.cache.path().join("p.lua");
    let path = file.display().to_string();
    let start = "return { route = function() return 1 end }";
    for (text, line) in [
        // A token that is none, behind what would be too deep.
        (format!("\nreturn {}~", "(".repeat(12_000)), 2),
        ("\n\nreturn { $ }".to_owned(), 3),
        ("type a=b?if c then ".repeat(1700), 1),
        ("if a then ".repeat(3000), 1),
        (format!("{start}\n{}", "f(".repeat(12_000)), 2),
        (format!("local t: {}", "{".repeat(20_000)), 1),
        (format!("local t: {}", "() -> (".repeat(4_000)), 1),
        (format!("return {}", "`{".repeat(10_000)), 1),
        (format!("return {}", "- ".repeat(12_000)), 1),
        (format!("return {}", "function() return ".repeat(1_700)), 1),
        // On these the library panics.
        ("for e:r.~".to_owned(), 1),
        ("k<<i~".to_owned(), 1),
        ("\n@$".to_owned(), 2),
        ("return '".to_owned(), 1),
        ("--[==[".to_owned(), 1),
        ("return `{".to_owned(), 1),
    ] {
        std::fs::write(&file, &text).expect("written");
        let shown = &text[..text.len().min(40)];
        let checked = windtunnel(["policy", "check", &path]);
        assert_eq!(checked.code, 2, "{shown}: {}", checked.stderr);
        let place = format!("{path}:{line}: ");
        let said = checked.stdout.matches(&place).count();
        assert_eq!(said, 1, "{shown}: {}", checked.stdout);
        assert!(!checked.stderr.contains("panicked"), "{}", checked.stderr);
        let report = scoring.report(&file, "--no-cache");
        let errors = report["errors"].as_array().expect("a list");
        assert_eq!(errors.len(), 1, "{shown}: {report}");
        assert_eq!(errors[0]["kind"], "syntax", "{shown}: {report}");
        assert_eq!(errors[0]["line"], line, "{shown}: {report}");
        assert!(
            errors[0]["file"]
                .as_str()
                .is_some_and(|f| f.ends_with("p.lua")),
            "{report}"
        );
        assert_eq!(report["score"], -100.0);
    }
}

/// What Luau takes works, whatever the library that the lints use makes of it.
#[test]
fn what_only_luau_can_read_works() {
    let scoring = Scoring::new();
    let file = scoring.cache.path().join("p.lua");
    let path = file.display().to_string();
    let start = "return { route = function() return 1 end }";
    for text in [
        format!("local t: a{} = nil\n{start}", "?".repeat(20_000)),
        format!("local t: a{} = nil\n{start}", " | a".repeat(900)),
        format!("@native local function f() end\n{start}"),
        format!("local x = {}1{}\n{start}", "(".repeat(400), ")".repeat(400)),
        format!(
            "local c = false\n{}{}\n{start}",
            "type a=b?if c then ".repeat(180),
            " end".repeat(180)
        ),
    ] {
        std::fs::write(&file, &text).expect("written");
        let shown = &text[..text.len().min(40)];
        let checked = windtunnel(["policy", "check", &path]);
        assert_eq!(
            checked.code, 0,
            "{shown}: {}{}",
            checked.stdout, checked.stderr
        );
        let report = scoring.report(&file, "--no-cache --stage smoke");
        assert_eq!(report["ok"], true, "{shown}: {report}");
    }
}
