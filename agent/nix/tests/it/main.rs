//! Stories of a profile that follows Hydra, with a real Nix, a store of each test's own, and a server that answers as Hydra does.
//!
//! `NIX_BIN` names the folder with Nix's programs: `NIX_BIN=$(cargo xtask nix) cargo test -p helium-nix`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod hydra;
mod nix;
mod real_nix;
