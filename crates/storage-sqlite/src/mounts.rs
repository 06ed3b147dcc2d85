//! Tells network file systems, on which SQLite's locks and shared memory do not hold.

use std::path::Path;

use domain::StorageFailure;

const NETWORK: &[&str] =
    &["nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "ceph", "glusterfs", "lustre", "fuse.sshfs"];

/// Refuses a path on a network file system, where the system tells what it is mounted on.
pub(crate) fn refuse_network(path: &Path) -> Result<(), StorageFailure> {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mounts") else { return Ok(()) };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(folder) = folder.canonicalize() else { return Ok(()) };
    match network_mount(&mounts, &folder) {
        None => Ok(()),
        Some(kind) => Err(StorageFailure::Denied(format!(
            "{} is on a network file system ({kind}), where SQLite can lose data: keep the store on a local disk",
            path.display()
        ))),
    }
}

/// The network file system that a folder lies on, if it does.
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
    nearest.filter(|(_, kind)| NETWORK.contains(kind)).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_decides() {
        let mounts =
            "/dev/a / ext4 rw 0 0\nserver:/x /net nfs4 rw 0 0\n/dev/b /net/local\\040disk xfs rw 0 0\n";
        assert_eq!(network_mount(mounts, Path::new("/net/data")), Some("nfs4".into()));
        assert_eq!(network_mount(mounts, Path::new("/net/local disk/data")), None);
        assert_eq!(network_mount(mounts, Path::new("/network")), None);
    }
}
