//! Files in memory, under the fuse of the agent that writes them: whatever it does after the fuse has burnt out does not happen.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use helium_templates::files::{Files, Stat};

/// Counts effects, and ends the agent before one of them.
#[derive(Debug, Default)]
pub(super) struct Fuse {
    left: Cell<Option<usize>>,
    spent: Cell<usize>,
    blown: Cell<bool>,
}

impl Fuse {
    pub(super) fn new(left: Option<usize>) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(left), ..Self::default() })
    }

    /// True if the effect takes place.
    pub(super) fn burn(&self) -> bool {
        if self.blown.get() {
            return false;
        }
        match self.left.get() {
            Some(0) => self.blown.set(true),
            left => {
                self.left.set(left.map(|left| left - 1));
                self.spent.set(self.spent.get() + 1);
            }
        }
        !self.blown.get()
    }

    pub(super) fn is_blown(&self) -> bool {
        self.blown.get()
    }

    /// It is to burn out after so many effects, unless it is lit already.
    pub(super) fn light(&self, effects: usize) {
        self.left.set(self.left.get().or(Some(effects)));
    }

    /// For the next agent, which has none.
    pub(super) fn mend(&self) {
        self.blown.set(false);
        self.left.set(None);
    }

    pub(super) fn spent(&self) -> usize {
        self.spent.get()
    }
}

/// The files.
pub(super) struct Memory {
    files: RefCell<BTreeMap<PathBuf, Vec<u8>>>,
    /// Whether there is no room for another byte.
    pub(super) full: Cell<bool>,
    fuse: Rc<Fuse>,
}

impl Memory {
    pub(super) fn under(fuse: Rc<Fuse>) -> Self {
        Self { files: RefCell::default(), full: Cell::new(false), fuse }
    }

    /// What a file holds.
    pub(super) fn text(&self, path: &Path) -> Option<String> {
        self.files.borrow().get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn effect(&self) -> io::Result<()> {
        if self.fuse.burn() { Ok(()) } else { Err(io::Error::other("the agent is dead")) }
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.borrow().get(path).cloned())
    }
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        Ok(self.files.borrow().get(path).map(|_| Stat { mode: 0o644, owner: (0, 0), regular: true }))
    }
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }
    fn create_folders(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, path: &Path, bytes: &[u8], _: u32) -> io::Result<()> {
        let half = bytes[..bytes.len() / 2].to_vec();
        if self.fuse.is_blown() {
            return self.effect();
        }
        // Whoever dies or finds no room in the middle leaves a half.
        self.files.borrow_mut().insert(path.to_owned(), half);
        self.effect()?;
        if self.full.get() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.files.borrow_mut().insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }
    fn give(&self, _: &Path, _: (u32, u32)) -> io::Result<()> {
        self.effect()
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.effect()?;
        let mut files = self.files.borrow_mut();
        let bytes = files.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.effect()?;
        let mut files = self.files.borrow_mut();
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.files.borrow().contains_key(path) {
            self.effect()?;
            self.files.borrow_mut().remove(path);
        }
        Ok(())
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
