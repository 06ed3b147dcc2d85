//! A full disk: every event is readable, and commands can free space. The disks are small file systems, which only root
//! can mount. Without this right, the tests do not run, and print a note.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail, and what is not run says so"
)]

mod common;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use common::{Bench, Said, registered};
use tempfile::TempDir;

/// Size of a disk, in MiB.
const SIZE: u64 = 72;

/// A separate file system.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Mounts a file system. Returns none if the process may not mount.
    fn mount(kind: &str) -> Option<Self> {
        let disk = Self { folder: tempfile::tempdir().unwrap() };
        let (image, place) = (disk.folder.path().join("image"), disk.place());
        fs::create_dir(&place).unwrap();
        let is_mounted = match kind {
            "ext4" => {
                fs::File::create(&image).unwrap().set_len(SIZE * 1024 * 1024).unwrap();
                succeeds(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))
                    && succeeds(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&place))
            }
            kind => succeeds(
                Command::new("mount").args(["-t", kind, "-o", &format!("size={SIZE}m"), kind]).arg(&place),
            ),
        };
        if !is_mounted {
            println!("NOT RUN: {kind} cannot be mounted here");
        }
        is_mounted.then_some(disk)
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Fills the free space.
    fn fill_up(&self) {
        let mut filler = fs::File::create(self.place().join("filler")).unwrap();
        for piece in [1024 * 1024, 4096, 1] {
            let bytes = vec![7; piece];
            while filler.write_all(&bytes).is_ok() {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        succeeds(Command::new("umount").arg("--lazy").arg(self.place()));
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn event(n: usize) -> String {
    let padding = "x".repeat(6000);
    registered(&format!("e{n}"), &format!("user-{}", n % 50), "2024-01-15T10:30:00Z")
        .replace("\"metadata\":{}", &format!("\"metadata\":{{\"padding\":\"{padding}\"}}"))
}

/// Publishes until the store is full, and returns the number of its events.
fn publish_until_full(bench: &Bench) -> u64 {
    for batch in 0.. {
        let events: Vec<String> = (batch * 1000..(batch + 1) * 1000).map(event).collect();
        let said = bench.pipe(&["publish"], events.join("\n"));
        if said.code != 0 {
            said.exits(1).says("the store is full").says("event-replay trim");
            break;
        }
        assert!(batch < 100, "it never fills up");
    }
    bench.json(&["stats"])["events"].as_u64().unwrap()
}

fn removes_shm(store: &Path) {
    let mut shm = store.as_os_str().to_owned();
    shm.push("-shm");
    let _ = fs::remove_file(shm);
}

fn is_read_and_left(disk: &Disk) {
    let store = disk.place().join("events.db");
    let bench = Bench::new().env("EVENT_REPLAY_STORE", &format!("sqlite:{}", store.display()));
    bench.pipe(&["publish"], event(0)).ok();
    bench.run(&["groups", "create", "mail", "--at", "start"]).ok();
    bench.run(&["groups", "create", "other", "--at", "start"]).ok();
    let events = publish_until_full(&bench);
    // The shared memory file of the processes is removed, and a full disk has no space for a new one.
    removes_shm(&store);
    disk.fill_up();
    bench.run(&["list", "--limit", "2"]).ok().prints("0:");
    bench.run(&["tail", "-n", "3"]).ok();
    bench.run(&["groups", "list"]).ok().prints("mail");
    assert_eq!(bench.json(&["stats"])["events"], events);
    assert_eq!(bench.run(&["export"]).ok().stdout.lines().count() as u64, events);
    let health = bench.run(&["health"]);
    assert!(health.stdout.contains("disk-space"), "{health:?}");
    // These commands free space.
    bench.run(&["groups", "delete", "other", "--yes"]).ok().prints("deleted group other");
    let handled = |said: Said| said.says("handled ");
    let consumed = ["consume", "mail", "--target", "null", "--until-idle", "500ms"];
    let consumed = consumed.map(|arg| if arg == "null" { "exec:sh answer.sh" } else { arg });
    let answer = "while read -r line; do id=${line#*'\"id\":\"'}; id=${id%%'\"'*}; \
                  printf '{\"id\":\"%s\",\"ok\":true}\\n' \"$id\"; done";
    bench.file("answer.sh", answer);
    handled(bench.run(&consumed).ok());
    bench.run(&["trim", "--max-events", "1000", "--yes"]).ok().prints("dropped ");
    bench.run(&["erase", "user=user-7", "--yes"]).ok().prints("erased ");
    bench.run(&["verify"]).ok();
    // The file has free pages inside, so the store accepts events again.
    let more: Vec<String> = (200_000..200_300).map(event).collect();
    bench.pipe(&["publish"], more.join("\n")).ok().prints("stored 300");
    bench.run(&["verify"]).ok();
}

#[test]
fn a_full_tmpfs_is_read_and_left() {
    if let Some(disk) = Disk::mount("tmpfs") {
        is_read_and_left(&disk);
    }
}

#[test]
fn a_full_ext4_is_read_and_left() {
    if let Some(disk) = Disk::mount("ext4") {
        is_read_and_left(&disk);
    }
}
