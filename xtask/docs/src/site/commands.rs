//! A page for each command, of the definitions that `--help` shows.

use clap::{Arg, Command};

/// Name and Markdown of every command that is shown, by name.
pub(crate) fn pages(mut command: Command) -> Vec<(String, String)> {
    command.build();
    let mut pages = Vec::new();
    add(&command, &mut pages);
    pages.sort();
    pages
}

fn add(command: &Command, pages: &mut Vec<(String, String)>) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    pages.push((name.to_owned(), page(command, name)));
    let shown = |below: &&Command| !below.is_hide_set() && below.get_name() != "help";
    for below in command.get_subcommands().filter(shown) {
        add(below, pages);
    }
}

fn page(command: &Command, name: &str) -> String {
    let about = command.get_long_about().or(command.get_about());
    let about = about.map_or_else(String::new, ToString::to_string);
    let usage = command.clone().render_usage().to_string();
    let mut page = format!(
        "# {name}\n\n{}\n\n```text\n{}\n```\n",
        escaped(&about),
        usage.trim()
    );
    let mut headings: Vec<Option<&str>> = Vec::new();
    for arg in command.get_arguments() {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    for heading in headings {
        let shown = |arg: &&Arg| arg.get_help_heading() == heading && !arg.is_hide_set();
        let args: Vec<&Arg> = command.get_arguments().filter(shown).collect();
        if !args.is_empty() {
            page += &format!("\n## {}\n\n", heading.unwrap_or("Arguments and options"));
            page.extend(args.into_iter().map(entry));
        }
    }
    if let Some(examples) = command.get_after_long_help().or(command.get_after_help()) {
        page += &format!(
            "\n## Examples\n\n```text\n{}\n```\n",
            examples.to_string().trim()
        );
    }
    page
}

/// A flag or a positional: how it is written, what it does, its values.
fn entry(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help());
    let mut help = help.map_or_else(String::new, ToString::to_string);
    if !help.is_empty() && !help.ends_with(['.', ']', '?']) {
        help.push('.');
    }
    let short = arg.get_short().map(|short| format!("`-{short}`, "));
    let mut entry = format!(
        "- {}`{arg}`  \n  {}",
        short.unwrap_or_default(),
        escaped(&help.replace('\n', "\n  "))
    );
    let defaults = arg.get_default_values();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        let defaults: Vec<_> = defaults
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        entry += &format!(" Default: `{}`.", defaults.join(" "));
    }
    let values = arg.get_possible_values();
    let values: Vec<_> = (values.iter())
        .filter(|value| !value.is_hide_set())
        .collect();
    if !values.is_empty() && arg.get_action().takes_values() {
        for value in values {
            entry += &format!("\n  - `{}`", value.get_name());
            if let Some(help) = value.get_help() {
                entry += &format!(": {}", escaped(&help.to_string()));
            }
        }
    }
    entry + "\n"
}

/// Text as Markdown that shows the same; what is in backticks is code already.
fn escaped(text: &str) -> String {
    let mut in_code = false;
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        in_code ^= c == '`';
        if !in_code && matches!(c, '\\' | '*' | '_' | '<' | '>' | '[' | ']' | '|' | '#') {
            shown.push('\\');
        }
        shown.push(c);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_what_the_help_has() {
        let command = Command::new("tool")
            .about("Does <it>")
            .after_help("Examples:\n  tool below --rate 3")
            .subcommand(
                Command::new("below").arg(
                    Arg::new("rate")
                        .long("rate")
                        .value_name("N")
                        .default_value("1")
                        .help("How fast; `a_b` is code")
                        .help_heading("Load"),
                ),
            )
            .subcommand(Command::new("hidden").hide(true));
        let pages = pages(command);
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["tool", "tool below"]);
        assert!(pages[0].1.contains("Does \\<it\\>"), "{}", pages[0].1);
        let entry = "## Load\n\n- `--rate <N>`  \n  How fast; `a_b` is code. Default: `1`.\n";
        assert!(pages[1].1.contains(entry), "{}", pages[1].1);
    }
}
