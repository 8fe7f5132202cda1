//! The daemon's configuration: types, bounds, defaults, conflicts, messages.
