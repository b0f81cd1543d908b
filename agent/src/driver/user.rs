//! Whom an instance runs as.

use std::{io, path::Path};

use nix::unistd::{Group, User};

/// A user of this machine, and the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    /// The user's id, and the group's.
    pub(crate) ids: (u32, u32),
    /// The user's name.
    pub(crate) name: String,
    /// The user's home.
    pub(crate) home: String,
}

/// Finds `user` or `user:group` on this machine. Without a group it is the user's own.
///
/// # Errors
/// In words, what there is not.
pub(crate) fn find(text: &str) -> Result<RunAs, String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let found = User::from_name(user).map_err(|error| format!("the user `{user}`: {error}"))?;
    let found = found.ok_or_else(|| format!("this machine has no user `{user}`"))?;
    let group = match group {
        None => found.gid,
        Some(group) => {
            let found = Group::from_name(group).map_err(|error| format!("the group `{group}`: {error}"))?;
            found.ok_or_else(|| format!("this machine has no group `{group}`"))?.gid
        }
    };
    Ok(RunAs {
        ids: (found.uid.as_raw(), group.as_raw()),
        name: found.name,
        home: found.dir.to_string_lossy().into_owned(),
    })
}

/// Gives a folder to a user.
pub(crate) fn give(folder: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    std::os::unix::fs::chown(folder, Some(user), Some(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_with_its_own_group_or_another() {
        let root = find("root").unwrap();
        assert_eq!((root.ids, root.name.as_str()), ((0, 0), "root"));
        assert_eq!(find("nobody:root").unwrap().ids.1, 0);
    }

    #[test]
    fn what_is_not_there_is_told() {
        assert_eq!(find("no-such-user").unwrap_err(), "this machine has no user `no-such-user`");
        assert_eq!(find("root:no-such-group").unwrap_err(), "this machine has no group `no-such-group`");
    }
}
