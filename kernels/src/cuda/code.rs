//! The kernels' code as PTX, which the driver compiles for its device. Written by `ostro-e2e gpu compile` from
//! kernels/cuda; CI compiles it anew and compares.

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        #[cfg(test)]
        pub(crate) const MODULES: &[&str] = &[$($name),*];

        /// The PTX of a module.
        pub(crate) fn source(module: &str) -> &'static str {
            match module {
                $($name => include_str!(concat!("../../cuda/ptx/", $name, ".ptx")),)*
                _ => unreachable!("no module is called {module}"),
            }
        }
    };
}

sources!(
    "wide",
    "rows",
    "pack",
    "attention",
    "prompt",
    "linear_dense",
    "linear_q4_d",
    "linear_q4_dm",
    "linear_q8_d",
    "linear_q8_dm",
    "linear_q4_fm",
    "linear_q8_fm",
    "linear_q4_fm16",
    "linear_q8_fm16",
);
