//! Words to systemd, if it listens.

pub use helium_runtime::notify::Notifier;
