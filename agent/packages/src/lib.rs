//! Packages: how what an instance runs comes onto a machine, and how it is made.
//!
//! A package is an archive (`.tar.gz`, `.tar.zst`) or a folder. [`install`](installer::Installer::install) fetches it, verifies it, unpacks it
//! beside its place, asks its caller's gate, moves it to its place and switches `current` to it, in an order that is data: a failure names
//! its [`Step`](installer::Step), and no step before the last changes what runs. What can be decided is decided without I/O: what an address
//! says, what an archive may hold, which versions stay. What is on the disk is a machine's only memory, and
//! [`Store::open`](store::Store::open) repairs whatever a crash between two system calls has left there.
//!
//! | module | what it is |
//! |---|---|
//! | [`source`] | what an address says |
//! | [`fetch`] | getting the bytes: a file, HTTP with resumed downloads, S3 |
//! | [`digest`] | SHA-256 of streams |
//! | [`signature`] | minisign |
//! | [`archive`] | reading with guards, writing the same bytes every time |
//! | [`manifest`] | what a package says of itself, and what it holds |
//! | [`store`] | the versions on this machine, and which one is current |
//! | [`installer`] | all of it in order |

pub mod archive;
pub mod digest;
pub mod fetch;
pub mod installer;
pub mod manifest;
pub mod signature;
pub mod source;
pub mod store;
