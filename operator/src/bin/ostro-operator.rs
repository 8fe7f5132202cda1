//! `ostro-operator`: reconciles `InferenceDeployment` objects into pods of the Ostro daemon.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ostro_operator::operator()
}
