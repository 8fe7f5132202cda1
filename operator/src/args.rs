//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Serves models in a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "ostro-operator", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Reconciles the cluster's InferenceDeployments
    Run(RunArgs),
    /// Prints the CustomResourceDefinition
    Crd,
    /// Says what is wrong with a manifest
    Validate(FileArgs),
    /// Prints the objects that the operator makes of a manifest
    Render(RenderArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Work in this namespace only, with the rights of a Role [default: the whole cluster]
    #[arg(long, env = "OSTRO_WATCH_NAMESPACE", value_parser = namespace)]
    pub(crate) namespace: Option<String>,
    /// The daemon's image, where an object names none
    #[arg(long, env = "OSTRO_IMAGE", default_value = DEFAULT_IMAGE, value_parser = image)]
    pub(crate) image: String,
    /// Address of /healthz, /readyz and /metrics; [::] stands for all, of IPv4 too
    #[arg(long, env = "OSTRO_LISTEN", default_value = "[::]:8080")]
    pub(crate) listen: SocketAddr,
    /// A file with the filter of logs, such as info or ostro_operator=debug; its changes count within seconds
    /// [default: RUST_LOG]
    #[arg(long, env = "OSTRO_LOG_FILTER_FILE", value_name = "FILE")]
    pub(crate) log_filter_file: Option<PathBuf>,
    /// Namespace of the lease by which one operator leads
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_parser = namespace)]
    pub(crate) lease_namespace: String,
    /// This process' name; in the lease it has an id behind it, which is no other's
    #[arg(long, env = "POD_NAME", default_value_t = process_name(), value_parser = identity)]
    pub(crate) identity: String,
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The manifest (.yaml), or - for standard input
    #[arg(short = 'f', long = "file")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    pub(crate) input: FileArgs,
    /// The daemon's image, where the manifest names none
    #[arg(long, default_value = DEFAULT_IMAGE, value_parser = image)]
    pub(crate) image: String,
    /// Where the manifest names no namespace
    #[arg(short = 'n', long, default_value = "default", value_parser = namespace)]
    pub(crate) namespace: String,
}

pub(crate) const DEFAULT_IMAGE: &str = concat!("ghcr.io/ostro-dev/ostro:", env!("CARGO_PKG_VERSION"));

/// A name that the API server gives a namespace: a label of RFC 1123.
pub(crate) fn namespace(name: &str) -> Result<String, &'static str> {
    let name = Some(name).filter(|name| is_label(name));
    name.map(str::to_owned).ok_or("a namespace has 1 to 63 small letters, digits and inner hyphens")
}

/// A name that the API server gives most objects: a subdomain of RFC 1123.
pub(crate) fn object_name(name: &str) -> Result<String, &'static str> {
    let name = Some(name).filter(|name| name.len() <= 253 && name.split('.').all(is_label));
    name.map(str::to_owned).ok_or("a name has 1 to 253 small letters, digits, and inner hyphens and dots")
}

/// A name that the API server gives a Service: a label of RFC 1035.
pub(crate) fn service_name(name: &str) -> Result<String, &'static str> {
    let name =
        Some(name).filter(|name| is_label(name) && name.starts_with(|first: char| first.is_alphabetic()));
    name.map(str::to_owned)
        .ok_or("a name has a small letter, then up to 62 small letters, digits and inner hyphens")
}

/// A lease that names nobody is free.
fn identity(name: &str) -> Result<String, &'static str> {
    let name = Some(name).filter(|name| !name.trim().is_empty());
    name.map(str::to_owned).ok_or("an identity has a name")
}

/// What an image is called is the registry's business; what is blank is none.
pub(crate) fn image(name: &str) -> Result<String, &'static str> {
    let name = Some(name).filter(|name| !name.is_empty() && !name.contains(char::is_whitespace));
    name.map(str::to_owned).ok_or("an image has a name without spaces")
}

fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let has_ends = !text.starts_with('-') && !text.ends_with('-');
    (1..=63).contains(&text.len()) && has_ends && text.bytes().all(is_inner)
}

fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], message: &str) {
        let error = Arguments::try_parse_from(arguments).unwrap_err().to_string();
        assert!(error.contains(message), "{arguments:?}: {error}");
    }

    #[test]
    fn a_namespace_that_no_server_has_is_refused_at_start() {
        let longest = "a".repeat(63);
        for name in ["default", "a", "team-1", "0", &longest] {
            assert_eq!(namespace(name), Ok(name.to_owned()));
        }
        for name in ["", "Bad NS", "a.b", "-a", "a-", "a/b", "ä", &"a".repeat(64)] {
            check(&["ostro-operator", "run", &format!("--namespace={name}")], "a namespace has 1 to 63");
        }
    }

    #[test]
    fn a_process_has_a_name_in_the_lease() {
        for name in ["", " "] {
            check(&["ostro-operator", "run", &format!("--identity={name}")], "an identity has a name");
        }
    }

    #[test]
    fn names_are_those_of_the_api_server() {
        let (label, subdomain) = ("a".repeat(63), format!("{}ab", "abc.".repeat(62)));
        for name in ["m", "m-1", "0", "a.b-c.d", &label, &format!("{subdomain}abc")] {
            assert_eq!(object_name(name), Ok(name.to_owned()));
        }
        for name in [
            "",
            "..",
            "../x",
            "a/b",
            "x?y=z",
            "a..b",
            ".a",
            "a.",
            "a-.b",
            "A",
            "a\u{1b}",
            "a%2f",
            &format!("{subdomain}abcd"),
        ] {
            assert!(object_name(name).is_err() && service_name(name).is_err(), "{name:?}");
        }
        for name in ["m", "m-1", &label] {
            assert_eq!(service_name(name), Ok(name.to_owned()));
        }
        for name in ["1m", "m-", "a.b", "ä"] {
            assert!(service_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_blank_image_is_refused_at_start() {
        for command in [&["run"][..], &["render", "-f", "-"]] {
            for image in ["", " ", "a b", "a\n"] {
                let image = format!("--image={image}");
                let words = [&["ostro-operator"], command, &[image.as_str()]].concat();
                check(&words, "an image has a name without spaces");
            }
        }
        assert!(image(DEFAULT_IMAGE).is_ok() && image("registry:5000/a@sha256:0").is_ok());
    }
}
