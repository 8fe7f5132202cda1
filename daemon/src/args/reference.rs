//! The reference page of the command line, written from the commands themselves.

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use clap::Command;
    use ostro_config::keys::{Kind, key_of_flag, keys};

    use super::super::command;
    use super::super::config_flags::help;
    use crate::environment::VARIABLES;

    const HEAD: &str = "# Command line

<!-- Written by `OSTRO_UPDATE_DOCS=1 cargo test -p ostro cli_page` from daemon/src/args; do not edit. -->

Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong, 130 stopped by Ctrl-C. SIGTERM and
SIGINT end a server, with 0, after running answers had 25 s to end (`OSTRO_DRAIN_SECONDS`); SIGINT after either ends it at
once.

`ostro run` on a terminal: Ctrl-C stops an answer, Ctrl-D ends. With `--input`, or with lines from a pipe or file, Ctrl-C
ends the program, and a text that could not be answered makes it end with 1. Answers go to standard output, all else to
standard error; a reader that leaves (`| head`) ends the program with 0.

Logs go to standard error. While nobody reads them a server goes on; beyond 8192 lines that wait, further ones are lost, and
their number is logged.

## Environment

An empty variable counts as absent.

| variable | meaning |
|---|---|
";

    const LIBRARIES: &str = "
Libraries that Ostro uses read further ones: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` for requests to the
hub, `SSL_CERT_FILE` and `SSL_CERT_DIR` for the certificates it is checked by, `TOKIO_WORKER_THREADS` for the threads
that handle connections, `TERM` and `LANG` for what the terminal can show.
";

    fn page() -> String {
        let mut page = HEAD.to_owned();
        for (name, meaning) in VARIABLES {
            writeln!(page, "| `{name}` | {meaning} |").unwrap();
        }
        page.push_str(LIBRARIES);
        let mut root = command().term_width(110).color(clap::ColorChoice::Never);
        root.build();
        for command in root.get_subcommands() {
            describe(&mut page, command, "ostro");
        }
        page
    }

    fn describe(page: &mut String, command: &Command, parent: &str) {
        let name = format!("{parent} {}", command.get_name());
        if name.ends_with(" help") {
            return;
        }
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "\n## `{name}`\n\n{about}.\n").unwrap();
        if command.has_subcommands() {
            command.get_subcommands().for_each(|command| describe(page, command, &name));
            return;
        }
        let help =
            command.clone().term_width(110).color(clap::ColorChoice::Never).render_long_help().to_string();
        let (_, help) = help.split_once("\n\n").unwrap_or_default();
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        writeln!(page, "```text\n{}\n```", lines.join("\n")).unwrap();
    }

    #[test]
    fn cli_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/cli.md");
        let page = page();
        if std::env::var_os("OSTRO_UPDATE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == page, "run OSTRO_UPDATE_DOCS=1 cargo test -p ostro cli_page");
    }

    #[test]
    fn command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn each_key_has_its_flag_and_default() {
        let root = command();
        let flags_of = |name: &str| {
            root.find_subcommand(name).unwrap().get_arguments().map(|arg| {
                (arg.get_long().unwrap_or_default().to_owned(), arg.get_help().unwrap().to_string())
            })
        };
        let flags: Vec<(String, String)> = flags_of("serve").chain(flags_of("run")).collect();
        for key in keys().iter().filter(|key| !["command", "default_model_id"].contains(&key.path.as_str())) {
            let flag = key.flag.as_ref().unwrap_or_else(|| panic!("{} has no flag", key.path));
            let (owner, _) = key_of_flag(&flag.long).unwrap();
            let (_, shown) = flags
                .iter()
                .find(|(long, _)| *long == flag.long)
                .unwrap_or_else(|| panic!("--{}", flag.long));
            assert_eq!(*shown, help(owner), "--{}", flag.long);
            if let (None, Some(default)) = (&owner.default_text, &owner.default)
                && owner.kind != Kind::Switch
            {
                assert!(
                    shown.contains(&format!("[default: {}]", default.to_string().replace('"', ""))),
                    "{shown}"
                );
            }
        }
    }
}
