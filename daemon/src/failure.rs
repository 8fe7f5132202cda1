//! How a command fails, and the exit code that says so: 2 for what the user can change in the command or its file,
//! 130 for Ctrl-C as shells have it, 1 for everything else.

use std::fmt;
use std::process::ExitCode;

use ostro_config::Problems;

use crate::logging::tell;

#[derive(Debug)]
pub(crate) enum Failure {
    /// The command or configuration cannot be obeyed.
    Usage(String),
    /// It was tried and did not work.
    Runtime(anyhow::Error),
    /// Parts of it did not work, and each said so.
    Told,
    /// The person stopped it, and knows.
    Interrupted,
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Failure::Usage(problems.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Runtime(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) => formatter.write_str(message),
            Failure::Runtime(error) => write!(formatter, "{error:#}"),
            Failure::Told | Failure::Interrupted => Ok(()),
        }
    }
}

pub(crate) fn exit_code(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    for line in failure.to_string().lines() {
        tell(format_args!("error: {line}"));
    }
    match failure {
        Failure::Usage(_) => ExitCode::from(2),
        Failure::Runtime(_) | Failure::Told => ExitCode::FAILURE,
        Failure::Interrupted => ExitCode::from(130),
    }
}
