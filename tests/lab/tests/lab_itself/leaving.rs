//! The lab leaves nothing behind, and asks for no privileges.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use avamgr_lab::{Lab, Plan, story, wait_until};

use crate::{SOON, alone};

/// What a lab might leave on the machine.
fn traces() -> (BTreeSet<String>, BTreeSet<String>) {
    let names = |dir: &str| -> BTreeSet<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let own = std::process::id().to_string();
    let parent = |pid: &String| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_child = |stat: &str| stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(own.as_str());
    let children = names("/proc").into_iter().filter(|pid| is_child(&parent(pid))).collect();
    (children, names("/sys/class/net"))
}

#[test]
fn nothing_is_left_behind_even_by_a_panic() {
    alone("leaving::nothing_is_left_behind_even_by_a_panic", || {
        story(|| {
            let before = traces();
            let scratch = leave_by_panic();
            let after = traces();
            assert_eq!(before.0, after.0, "processes");
            assert_eq!(before.1, after.1, "interfaces");
            assert!(!scratch.exists());
            Ok(())
        });
    });
}

fn leave_by_panic() -> std::path::PathBuf {
    let (tell, told) = std::sync::mpsc::channel();
    let outcome = std::thread::spawn(move || {
        let lab = Lab::start(Plan::pair()).unwrap();
        let node = lab.host("hadev1").unwrap();
        // A daemon that has left its session, its parent and its signals behind.
        let daemon = "setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000' & exit 0";
        node.command("sh").args(["-c", daemon]).spawn().unwrap();
        wait_until(SOON, "the daemon", || !node.pids().unwrap().is_empty()).unwrap();
        tell.send((lab.scratch(), node.pids().unwrap())).unwrap();
        // A panic without the noise of its message.
        std::panic::resume_unwind(Box::new("on purpose"));
    })
    .join();
    assert!(outcome.is_err());
    let (scratch, pids) = told.recv().unwrap();
    assert!(!pids.is_empty());
    for pid in pids {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert!(comm.is_empty(), "{pid} ({comm}) lives on");
    }
    scratch
}

#[test]
fn an_ordinary_account_needs_neither_root_nor_programs() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("tour");
    fs::copy(env!("CARGO_BIN_EXE_avamgr-lab"), &program).unwrap();
    let mut tour = std::process::Command::new(&program);
    tour.env("PATH", "/nonexistent").current_dir("/");
    if nix::unistd::Uid::effective().is_root() {
        const NOBODY: u32 = 65534;
        tour.uid(NOBODY).gid(NOBODY);
    }
    let output = tour.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.ends_with("172.16.9.61 is owned by hadev2\n"), "{text}");
}

#[test]
fn a_killed_lab_takes_its_hosts_with_it_and_the_next_one_tidies_up() {
    alone("leaving::a_killed_lab_takes_its_hosts_with_it_and_the_next_one_tidies_up", || {
        story(|| match std::env::var_os("LAB_TO_BE_KILLED") {
            Some(tell) => wait_to_be_killed(tell),
            None => see_a_killed_lab_off(),
        });
    });
}

fn wait_to_be_killed(place: std::ffi::OsString) -> Result<(), Box<dyn std::error::Error>> {
    let place = std::path::PathBuf::from(place);
    let lab = Lab::start_in(Plan::pair(), &place)?;
    let node = lab.host("hadev1")?;
    node.command("sleep").arg("1000").spawn()?;
    let said = format!("{} {}\n", lab.scratch().display(), node.pids()?[0]);
    fs::write(place.join("said"), said)?;
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

fn see_a_killed_lab_off() -> Result<(), Box<dyn std::error::Error>> {
    // A place of its own, or the labs of other tests would do the tidying.
    let place = tempfile::tempdir()?;
    let mut lab = std::process::Command::new(std::env::current_exe()?)
        .args(std::env::args().skip(1))
        .env("LAB_TO_BE_KILLED", place.path())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let said = || fs::read_to_string(place.path().join("said")).unwrap_or_default();
    wait_until(Duration::from_secs(20), "a lab", || said().ends_with('\n'))?;
    let text = said();
    let (scratch, pid) = text.trim().split_once(' ').ok_or("what the lab said")?;
    let lives = || fs::exists(format!("/proc/{pid}")).unwrap();
    assert!(lives() && fs::exists(scratch)?);
    lab.kill()?;
    lab.wait()?;
    wait_until(SOON, "the end of its processes", || !lives())?;
    assert!(fs::exists(scratch)?);
    drop(Lab::start_in(Plan::pair(), place.path())?);
    assert!(!fs::exists(scratch)?);
    Ok(())
}
