//! The reference page of the plugin's command line, written from the commands themselves.

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use clap::{ColorChoice, Command, CommandFactory};

    use super::super::args::Arguments;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/kubectl-ostro.md");

    const HEAD: &str = "# Command line of kubectl ostro

<!-- Written by `OSTRO_UPDATE_DOCS=1 cargo test -p ostro-operator plugin_page` from operator/src/kubectl/args.rs; do not
edit. -->

Exit codes: 0 done; 1 `plan` found changes, or `status` an object that is not ready or that it cannot read; 2 the
command line is wrong, or the command failed. What was asked for goes to standard output, all else to standard error.
";

    fn command() -> Command {
        let mut command = Arguments::command().term_width(110).color(ColorChoice::Never);
        command.build();
        command
    }

    fn page() -> String {
        let mut page = HEAD.to_owned();
        for command in command().get_subcommands().filter(|command| command.get_name() != "help") {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            writeln!(page, "\n## `kubectl ostro {}`\n\n{about}.\n", command.get_name()).unwrap();
            let help =
                command.clone().term_width(110).color(ColorChoice::Never).render_long_help().to_string();
            let (_, help) = help.split_once("\n\n").unwrap_or_default();
            let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
            writeln!(page, "```text\n{}\n```", lines.join("\n")).unwrap();
        }
        page
    }

    #[test]
    fn plugin_page_is_up_to_date() {
        let page = page();
        if std::env::var_os("OSTRO_UPDATE_DOCS").is_some() {
            std::fs::write(PAGE, &page).unwrap();
        }
        let committed = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert!(committed == page, "run OSTRO_UPDATE_DOCS=1 cargo test -p ostro-operator plugin_page");
    }

    #[test]
    fn command_line_is_consistent() {
        command().debug_assert();
    }
}
