//! A disk that is full, that refuses, and that is slow.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::books::Books;
use super::{limit, live_bridge_under, missing};
use crate::lab::{Bridge, Lab};

#[tokio::test]
async fn full_disk_costs_nothing_and_a_kill_on_it_is_accounted_for() {
    let lab = Lab::new(&["crm", "audit"]).await;
    let Some(disk) = Disk::mount(lab.spool().parent().expect("a folder")) else { return };
    let bridge = lab.live_bridge().await;
    let mut books = Books::default();
    books.send(&lab.zoom, 50).await;
    disk.fill();
    books.send(&lab.zoom, 200).await;
    bridge.until("/readyz", |code, text| code == 503 && text.contains("disk is full")).await;
    assert_losing(&lab, &bridge).await;
    disk.free();
    let account = books.close(&lab, &bridge).await;
    assert_eq!(account.in_gaps, 0, "what was read waits for the disk: {account:?}");

    disk.fill();
    books.send(&lab.zoom, 200).await;
    bridge.until("/readyz", |code, text| code == 503 && text.contains("disk is full")).await;
    bridge.kill().await;
    lab.zoom.wait_for(|counts| counts.live() == 0).await;
    disk.free();
    let bridge = lab.live_bridge().await;
    let account = books.close(&lab, &bridge).await;
    assert!(account.in_gaps > 0, "what waited went with the process: {account:?}");
    bridge.stop().await;
}

#[tokio::test]
async fn disk_that_refuses_to_write_costs_nothing() {
    let lab = Lab::new(&["crm", "audit"]).await;
    let bridge = live_bridge_under(&lab, &[], &[]).await;
    let mut books = Books::default();
    books.send(&lab.zoom, 50).await;
    limit(&bridge, "--fsize=1:");
    books.send(&lab.zoom, 200).await;
    bridge.until("/readyz", |code, text| code == 503 && text.contains("the spool failed")).await;
    assert_losing(&lab, &bridge).await;
    limit(&bridge, "--fsize=unlimited:");
    let account = books.close(&lab, &bridge).await;
    assert_eq!(account.in_gaps, 0, "{account:?}");
    bridge.stop().await;
}

#[tokio::test]
async fn disk_that_hangs_is_told_and_costs_nothing_once_it_comes_back() {
    let lab = Lab::new(&["crm", "audit"]).await;
    let folder = lab.directory.path();
    let Some(library) = slow_sync(folder) else { return };
    let hangs = folder.join("hangs");
    let variables = [("LD_PRELOAD", library.as_os_str()), ("SLOW_SYNC_HANGS", hangs.as_os_str())];
    let bridge = live_bridge_under(&lab, &[], &variables).await;
    let mut books = Books::default();
    books.send(&lab.zoom, 50).await;
    fs::write(&hangs, "").expect("written");
    books.send(&lab.zoom, 50).await;
    bridge.until("/readyz", |code, text| code == 503 && text.contains("does not come back")).await;
    assert_losing(&lab, &bridge).await;
    bridge.until("/metrics", |_, text| text.contains("zoomhook_spool_writable 0")).await;
    fs::remove_file(&hangs).expect("removed");
    bridge.until("/readyz", |code, _| code == 200).await;
    let account = books.close(&lab, &bridge).await;
    assert_eq!(account.in_gaps, 0, "what arrived meanwhile waited: {account:?}");
    bridge.stop().await;
}

#[tokio::test]
async fn slow_disk_costs_nothing() {
    let lab = Lab::new(&["crm", "audit"]).await;
    let folder = lab.directory.path();
    let Some(library) = slow_sync(folder) else { return };
    let count = folder.join("syncs");
    let variables = [("LD_PRELOAD", library.as_os_str()), ("SLOW_SYNC_COUNT", count.as_os_str())];
    let mut bridge = live_bridge_under(&lab, &[], &variables).await;
    let mut books = Books::default();
    books.send(&lab.zoom, 1000).await;
    let account = books.close(&lab, &bridge).await;
    assert_eq!((account.in_gaps, account.stored), (0, 1001));
    let syncs = fs::metadata(&count).expect("counted").len();
    assert!(syncs > 10, "the disk was slow: {syncs} syncs");

    // Killed between the reading and a sync that takes its time.
    for _ in 0..5 {
        let sent = lab.zoom.counts().sent;
        tokio::join!(books.send(&lab.zoom, 200), async {
            lab.zoom.wait_for(|counts| counts.sent > sent).await;
            bridge.kill().await;
        });
        lab.zoom.wait_for(|counts| counts.live() == 0).await;
        bridge = live_bridge_under(&lab, &[], &variables).await;
    }
    books.close(&lab, &bridge).await;
    bridge.stop().await;
}

/// Compiles what makes syncs slow.
fn slow_sync(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("slow_sync.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/proof/slow_sync.c");
    match Command::new("cc").args(["-shared", "-fPIC", source, "-ldl", "-o"]).arg(&library).status() {
        Ok(status) => assert!(status.success(), "{source} does not compile"),
        Err(error) => {
            missing(&format!("there is no C compiler (cc): {error}"));
            return None;
        }
    }
    Some(library)
}

/// Checks that status says what is so: the spool takes nothing.
async fn assert_losing(lab: &Lab, bridge: &Bridge) {
    let (code, out, err) = lab.run(&["status", "--json", "--listen", &bridge.admin.to_string()]).await;
    let status: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!((code, &status["ok"], &status["spool"]["writable"]), (1, &false.into(), &false.into()), "{status:#}");
    assert!(
        status["summary"].as_str().is_some_and(|text| text.starts_with("Nothing is lost yet, but events will be")),
        "{status:#}"
    );
}

/// Is a small disk in memory; it goes with the value.
struct Disk(PathBuf);

impl Disk {
    /// Mounts it. Only root may: for others the test is skipped with a word, and a limit of the size of files stands for it.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "zoomhook-test"]).arg(at);
        let output = mount.output().ok().filter(|output| output.status.success());
        if output.is_none() {
            eprintln!("skipped: no disk can be mounted, only root may; disk_that_refuses_to_write_costs_nothing runs");
        }
        output.map(|_| Self(at.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.ballast()).expect("a file");
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).expect("it was full");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a bridge that a failed test leaves may have files open for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
