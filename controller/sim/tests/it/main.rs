//! The simulator tests itself and what it simulates.

mod defects;
mod preview;
mod seeds;
mod size;
mod stories;

/// Worlds are made of small allocations, on all cores at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
