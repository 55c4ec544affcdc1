//! The page that `windtunnel accuracy --html` writes.

use crate::errors::Folder;
use std::collections::BTreeSet;

const TRUTH: &str = "docs/examples/ground-truth";

/// The page of these flags, and what was printed.
fn page(folder: &Folder, flags: &str) -> (String, String) {
    let truth = crate::support::root().join(TRUTH);
    let ran = folder.command(&format!(
        "accuracy {} --html @/page.html {flags}",
        truth.display()
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let page = std::fs::read_to_string(folder.path().join("page.html")).expect("a page");
    (page, ran.stdout)
}

/// What stands between two texts, everywhere.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    let parts = text.split(start).skip(1);
    parts
        .map(|part| part.split(end).next().unwrap_or(part))
        .collect()
}

#[test]
fn a_page_shows_every_case_and_needs_nothing_else() {
    let folder = Folder::with(&[]);
    let (page, printed) = page(&folder, "");
    // What is printed stays the same.
    assert!(
        printed.starts_with("latency model kernel-tables: 6 cases"),
        "{printed}"
    );
    for wrong in ["http:", "https:", "src=", "@import", "url(h", "NaN", "inf "] {
        assert!(!page.contains(wrong), "{wrong}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
    // Three plots of six cases.
    let plots = between(&page, "<figure>", "</figure>");
    let titles: Vec<&str> = plots
        .iter()
        .map(|plot| between(plot, "<figcaption>", ",")[0])
        .collect();
    assert_eq!(titles, ["TTFT", "TPOT", "E2E"]);
    for plot in &plots {
        assert_eq!(plot.matches("<use ").count(), 6, "{plot}");
        assert!(plot.contains("role=\"img\" aria-label=\""), "{plot}");
        for (axis, most) in [("x", 340.0), ("y", 340.0)] {
            for place in between(plot, &format!("\" {axis}=\""), "\"") {
                let place: f64 = place.parse().expect("a place");
                assert!((0.0..most).contains(&place), "{place}");
            }
        }
    }
    // Every name of an outline, of a clip and of a label is there.
    let ids: BTreeSet<&str> = between(&page, " id=\"", "\"").into_iter().collect();
    for used in between(&page, "href=\"#", "\"") {
        assert!(ids.contains(used), "{used}");
    }
    for used in between(&page, "url(#", ")") {
        assert!(ids.contains(used), "{used}");
    }
    // The errors of the table are those that are printed.
    let all = printed.lines().find(|line| line.starts_with("all"));
    let all = all.expect("a line of all").split_whitespace().nth(2);
    let [median, mean] = all.expect("TTFT").split('/').collect::<Vec<_>>()[..] else {
        panic!("{printed}");
    };
    assert!(
        page.contains(&format!("<td>6</td><td>{median} / {mean}</td>")),
        "{median} {mean}"
    );
    let rows = between(&page, "<p>Means", "</table>")[0];
    assert_eq!(rows.matches("<th scope=\"row\">").count(), 6);
    // How it was made.
    assert!(page.contains("<code>windtunnel accuracy "), "the command");
    assert!(page.contains("<dd>kernel-tables</dd>") && page.contains("results "));
    assert!(page.contains("published by others") && page.contains("blis-roofline"));
}

#[test]
fn names_are_text_and_other_models_are_named() {
    let folder = Folder::with(&[]);
    let (page, _) = page(
        &folder,
        "--only 65-01 --latency-model roofline --rules vllm",
    );
    assert!(page.contains("<dd>roofline</dd>") && page.contains("<dt>Rules</dt><dd>vllm</dd>"));
    assert_eq!(between(&page, "<figure>", "</figure>").len(), 3);
    assert!(page.contains("class=\"far\""), "the roofline is far off");
    let index = "model,hardware,tp,dp,num_prompts,max_concurrency,input_mean,output_mean,request_throughput,mean_ttft_ms,\
                 mean_itl_ms,median_itl_ms,mean_e2el_ms\n\
                 Qwen3-8B,h100sxm,1,1,20,4,256,32,10.0,30,8,8,300\n\
                 <b>&x,h100sxm,1,1,20,4,256,32,10.0,30,8,8,300\n";
    let folder = Folder::with(&[("index.csv", index)]);
    let ran = folder.command("accuracy @/ --html @/page.html");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let page = std::fs::read_to_string(folder.path().join("page.html")).expect("a page");
    assert!(page.contains("Not simulated") && page.contains("&lt;b&gt;&amp;x TP1"));
    assert!(!page.contains("<b>"));
    let plots = between(&page, "<figcaption>", "<span>");
    assert_eq!(
        plots,
        [
            "Throughput, requests/s",
            "E2E, mean, ms",
            "TTFT, mean, ms",
            "ITL, median, ms"
        ]
    );
}
