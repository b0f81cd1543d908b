//! What of a resource a process may use, set while it stands at its gate.

use std::io;

/// A resource of a process that the system bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Open files, by number.
    OpenFiles,
    /// Processes and threads of its user, by number.
    Processes,
    /// The size of a core dump, in bytes.
    CoreDump,
    /// Its address space, in bytes.
    AddressSpace,
    /// Memory that is locked, in bytes.
    LockedMemory,
}

/// The most that a process may use of a resource; it and its children cannot raise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// How much, in the unit of the resource.
    pub most: u64,
}

impl Limit {
    #[cfg(target_os = "linux")]
    pub(crate) fn set_for(&self, pid: u32) -> io::Result<()> {
        use rustix::process::{self, Pid, Rlimit};
        let resource = match self.resource {
            Resource::OpenFiles => process::Resource::Nofile,
            Resource::Processes => process::Resource::Nproc,
            Resource::CoreDump => process::Resource::Core,
            Resource::AddressSpace => process::Resource::As,
            Resource::LockedMemory => process::Resource::Memlock,
        };
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let both = Rlimit { current: Some(self.most), maximum: Some(self.most) };
        process::prlimit(Some(pid), resource, both)?;
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn set_for(&self, _pid: u32) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system does not limit another process"))
    }
}
