//! Follows every link of a site that leads to the site itself.

use anyhow::{Context, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Follows the links of all pages below a folder; how many there are.
pub(crate) fn check(folder: &Path) -> anyhow::Result<usize> {
    let mut pages = BTreeMap::new();
    collect(folder, &mut pages)?;
    let anchors: BTreeMap<&PathBuf, BTreeSet<&str>> = (pages.iter())
        .map(|(path, text)| (path, values(text, "id").collect()))
        .collect();
    let mut followed = 0;
    let mut lost = Vec::new();
    for (page, text) in &pages {
        // The page of a wrong address has links from the root of a server.
        if page.ends_with("404.html") {
            continue;
        }
        for link in values(text, "href").chain(values(text, "src")) {
            if link.contains(':') || link.starts_with("//") {
                continue;
            }
            followed += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let mut target = page.clone();
            if !file.is_empty() {
                target.pop();
                target.push(file.replace("%20", " "));
            }
            if target.is_dir() {
                target.push("index.html");
            }
            let Ok(target) = target.canonicalize() else {
                lost.push(format!("{}: {link}", page.display()));
                continue;
            };
            let there = anchors.get(&target);
            if !anchor.is_empty() && there.is_some_and(|ids| !ids.contains(anchor)) {
                lost.push(format!("{}: {link}", page.display()));
            }
        }
    }
    if !lost.is_empty() {
        bail!("links that lead nowhere:\n{}", lost.join("\n"));
    }
    Ok(followed)
}

/// The pages below a folder, with their texts.
fn collect(folder: &Path, pages: &mut BTreeMap<PathBuf, String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, pages)?;
        } else if path.extension().is_some_and(|ending| ending == "html") {
            let text = fs::read_to_string(&path)?;
            pages.insert(path.canonicalize()?, text);
        }
    }
    Ok(())
}

/// The values of an attribute.
fn values<'a>(text: &'a str, attribute: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!(" {attribute}=\"");
    let parts: Vec<&str> = text.split(begin.as_str()).skip(1).collect();
    parts
        .into_iter()
        .filter_map(|part| part.split_once('"').map(|(value, _)| value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_no_file_and_to_no_heading_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let page = |text: &str| fs::write(folder.path().join("a.html"), text).unwrap();
        page("<h1 id=\"top\"></h1><a href=\"#top\"></a><a href=\"https://example.org\"></a>");
        assert_eq!(check(folder.path()).unwrap(), 1);
        page("<a href=\"b.html\"></a><a href=\"a.html#top\"></a>");
        let lost = check(folder.path()).unwrap_err().to_string();
        assert!(
            lost.contains("b.html") && lost.contains("a.html#top"),
            "{lost}"
        );
    }
}
