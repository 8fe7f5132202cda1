//! `kubectl ostro`: what the operator knows, at a user's hand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ostro_operator::kubectl_plugin()
}
