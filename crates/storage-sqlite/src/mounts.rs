//! Refuses places where SQLite can lose data. On network file systems, SQLite's locks and shared memory do not work. A
//! file with several names (hard links) has a separate write-ahead log for each name.

use std::path::{Path, PathBuf};

use domain::StorageFailure;

use crate::scratch;

/// Types of network file systems.
const NETWORK: &str =
    "9p afs beegfs ceph cifs davfs glusterfs gpfs lustre ncpfs nfs nfs4 prl_fs smb3 smbfs vboxsf";
/// Programs that serve a network file system through FUSE.
const FUSE: &str = "beegfs ceph ceph-fuse davfs davfs2 gcsfuse glusterfs rclone s3fs sshfs vmhgfs-fuse";

fn is_network(kind: &str) -> bool {
    let (names, name) = kind.strip_prefix("fuse.").map_or((NETWORK, kind), |program| (FUSE, program));
    names.split(' ').any(|known| known == name)
}

/// Refuses a path on a network file system, and a file with several names. Network file systems are only detected where
/// the system lists its mounts.
pub(crate) fn refuse_unsafe(path: &Path) -> Result<(), StorageFailure> {
    refuse_network(path)?;
    refuse_hard_links(path)
}

fn refuse_network(path: &Path) -> Result<(), StorageFailure> {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mounts") else { return Ok(()) };
    let Some(folder) = real_folder_of(path) else { return Ok(()) };
    match network_mount(&mounts, &folder) {
        None => Ok(()),
        Some(kind) => Err(StorageFailure::Denied(format!(
            "{} is on a network file system ({kind}), where SQLite can lose data: keep the store on a local disk",
            path.display()
        ))),
    }
}

/// Highest number of symbolic links that are followed, as in Linux.
const MOST_LINKS: usize = 40;

/// Returns the folder of the file after all symbolic links are followed. The file does not need to exist.
fn real_folder_of(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        // The target of a link may not exist yet.
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = scratch::folder_of(&path).join(target);
    }
    scratch::folder_of(&path).canonicalize().ok()
}

#[cfg(unix)]
pub(crate) fn refuse_hard_links(path: &Path) -> Result<(), StorageFailure> {
    use std::os::unix::fs::MetadataExt;

    let names = std::fs::metadata(path).map_or(1, |file| file.nlink());
    if names <= 1 {
        return Ok(());
    }
    Err(StorageFailure::Denied(format!(
        "{} has {names} names (hard links), and writers under two names overwrite each other's events: keep one name and remove \
         the others, or make a copy with `event-replay backup`",
        path.display()
    )))
}

#[cfg(not(unix))]
pub(crate) fn refuse_hard_links(_path: &Path) -> Result<(), StorageFailure> {
    Ok(())
}

/// Returns the type of the network file system that holds a folder, or none if its file system is local.
fn network_mount(mounts: &str, folder: &Path) -> Option<String> {
    let mut fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.replace("\\040", " "), fields.next()?))
    });
    let mut nearest: Option<(String, &str)> = None;
    for (point, kind) in &mut fields {
        let nearer = nearest.as_ref().is_none_or(|(best, _)| point.len() >= best.len());
        if nearer && folder.starts_with(&point) {
            nearest = Some((point, kind));
        }
    }
    nearest.filter(|(_, kind)| is_network(kind)).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    #[test]
    fn programs_that_serve_a_network_file_system_are_known() {
        for kind in ["fuse.glusterfs", "fuse.ceph-fuse", "9p", "vboxsf", "davfs"] {
            let mounts = format!("/dev/a / ext4 rw 0 0\nserver /net {kind} rw 0 0\n");
            assert_eq!(network_mount(&mounts, Path::new("/net/data")), Some(kind.to_owned()));
        }
        assert_eq!(network_mount("a / fuse.ntfs-3g rw 0 0\n", Path::new("/net")), None);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_followed_to_the_folder_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (far, near) = (folder.path().join("far"), folder.path().join("near"));
        std::fs::create_dir(&far).unwrap();
        std::fs::create_dir(&near).unwrap();
        std::fs::write(far.join("events.db"), "").unwrap();
        std::os::unix::fs::symlink(far.join("events.db"), near.join("events.db")).unwrap();
        assert_eq!(real_folder_of(&near.join("events.db")), far.canonicalize().ok());
        assert_eq!(real_folder_of(&near.join("other.db")), near.canonicalize().ok());
        // The store does not exist yet. The path leads through two links, one of them relative.
        std::os::unix::fs::symlink("../far/new.db", near.join("new.db")).unwrap();
        std::os::unix::fs::symlink(near.join("new.db"), near.join("newer.db")).unwrap();
        assert_eq!(real_folder_of(&near.join("newer.db")), far.canonicalize().ok());
    }

    #[test]
    fn the_nearest_mount_decides() {
        let mounts =
            "/dev/a / ext4 rw 0 0\nserver:/x /net nfs4 rw 0 0\n/dev/b /net/local\\040disk xfs rw 0 0\n";
        assert_eq!(network_mount(mounts, Path::new("/net/data")), Some("nfs4".into()));
        assert_eq!(network_mount(mounts, Path::new("/net/local disk/data")), None);
        assert_eq!(network_mount(mounts, Path::new("/network")), None);
    }
}
