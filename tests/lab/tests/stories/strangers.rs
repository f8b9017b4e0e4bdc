//! What must not come in: noise, recordings, other keys; and a disk that is full.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use avamgr_lab::{Host, Plan, story, wait_until};
use serde_json::Value;

use crate::pair::{Pair, SLEEPER, SOON, config};

/// UDP port of the heartbeats.
const PORT: u16 = 6940;

/// Heartbeats of hadev2 on the primary link.
const HEARTBEATS: [[u8; 4]; 2] = [[172, 16, 11, 55], [172, 16, 11, 54]];

fn refused(pair: &Pair, name: &str, cause: &str) -> u64 {
    let Ok(status) = pair.status(name) else {
        return 0;
    };
    let links = status["peers"][0]["links"].as_array().cloned().unwrap_or_default();
    links.iter().filter_map(|link| link["refused"][cause].as_u64()).sum()
}

/// Datagrams on a link that never became frames: refused for what they are, or for how many they are. What was sent and
/// received has counters of the same kind and is no part of it.
fn turned_away(pair: &Pair, name: &str, link: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let status = pair.status(name)?;
    let counters = status["driver"]["link_counters"].as_object().ok_or("no counters")?;
    let refusal = |counter: &str| counter.starts_with("bad_") || counter == "flooded";
    let of_link = |name: &str| name.rsplit_once(' ').is_some_and(|(of, counter)| of == link && refusal(counter));
    Ok(counters.iter().filter(|(name, _)| of_link(name)).filter_map(|(_, count)| count.as_u64()).sum())
}

#[test]
fn noise_on_a_link_is_counted_and_changes_nothing() {
    story(|| {
        let pair = Pair::start(Plan::pair(), &config("", SLEEPER))?;
        let before = pair.role_changes("hadev1")? + pair.role_changes("hadev2")?;
        assert_eq!(turned_away(&pair, "hadev1", "primary")?, 0, "nobody has thrown anything yet");
        pair.node("hadev2")?.in_netns(|| {
            let socket = UdpSocket::bind("172.16.11.55:0")?;
            for round in 0..2000_u32 {
                let noise: Vec<u8> = (0..round % 300).map(|byte| (byte.wrapping_mul(round) >> 3) as u8).collect();
                socket.send_to(&noise, ("172.16.11.54", PORT))?;
                if round % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            Ok(())
        })?;
        wait_until(SOON, "the noise to be counted", || {
            turned_away(&pair, "hadev1", "primary").is_ok_and(|count| count >= 100)
        })?;
        assert_eq!(pair.role_changes("hadev1")? + pair.role_changes("hadev2")?, before);
        assert_eq!(pair.role("hadev1"), "active");
        Ok(())
    });
}

#[test]
fn recorded_heartbeats_played_back_are_counted_and_change_nothing() {
    story(|| {
        let mut pair = Pair::start(Plan::pair(), &config("", SLEEPER))?;
        let node = pair.node("hadev2")?;
        let frames = record(&node, "eth3", HEARTBEATS, 60)?;
        let before = (refused(&pair, "hadev1", "replayed"), pair.role_changes("hadev1")?);
        play(&node, "eth3", &frames)?;
        wait_until(SOON, "the recordings to be counted", || refused(&pair, "hadev1", "replayed") >= before.0 + 20)?;
        assert_eq!(pair.role_changes("hadev1")?, before.1);
        assert_eq!(pair.role("hadev1"), "active");
        // Also in another life of the receiver, where their numbers are new: they echo the life that is over.
        pair.daemon("hadev1").kill9()?;
        pair.wait_role("hadev2", "active")?;
        pair.start_daemon("hadev1")?;
        pair.wait_role("hadev1", "standby")?;
        std::thread::sleep(Duration::from_secs(1));
        let before = (refused(&pair, "hadev1", "unproven"), pair.all_role_changes());
        play(&node, "eth3", &frames)?;
        wait_until(SOON, "the recordings to be counted", || refused(&pair, "hadev1", "unproven") >= before.0 + 20)?;
        assert_eq!(pair.all_role_changes(), before.1);
        assert_eq!((pair.role("hadev1"), pair.role("hadev2")), ("standby".to_owned(), "active".to_owned()));
        pair.never_two_owners()
    });
}

#[test]
fn a_node_with_another_key_is_not_believed_and_makes_no_second_owner() {
    story(|| {
        let mut pair = Pair::install_all(Plan::pair(), &config("", SLEEPER))?;
        pair.node("hadev2")?.write("/etc/avamgr/keys", format!("1 {} send\n", "fedcba9876543210".repeat(4)))?;
        pair.start_daemon("hadev1")?;
        pair.wait_role("hadev1", "active")?;
        pair.start_daemon("hadev2")?;
        std::thread::sleep(Duration::from_secs(4));
        let why = pair.avamgr("hadev2", &["why"])?.stdout;
        assert_eq!(pair.role("hadev2"), "standby", "{}", String::from_utf8_lossy(&why));
        assert!(refused(&pair, "hadev1", "digest") > 0);
        pair.never_two_owners()
    });
}

#[test]
fn a_refused_reload_keeps_the_keys_that_the_other_node_knows() {
    story(|| {
        let pair = Pair::start(Plan::pair(), &config("", SLEEPER))?;
        let node = pair.node("hadev1")?;
        node.write("/etc/avamgr/keys", format!("1 {} send\n", "fedcba9876543210".repeat(4)))?;
        let before = pair.all_role_changes();
        for (timers, service, named) in
            [("", "sleep 99999", "group"), ("guard_lifetime = \"4s\"", "sleep 100000", "timers.guard_lifetime")]
        {
            let text = config(timers, SLEEPER).replace("sleep 100000", service);
            node.write("/etc/avamgr/avamgr.toml", text)?;
            let reload = pair.avamgr("hadev1", &["reload"])?;
            let said = String::from_utf8_lossy(&[reload.stdout, reload.stderr].concat()).into_owned();
            assert_eq!(reload.status.code(), Some(3), "{said}");
            assert!(said.contains(named) && said.contains("need a restart of the daemon"), "{said}");
        }
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!((refused(&pair, "hadev1", "digest"), refused(&pair, "hadev2", "digest")), (0, 0));
        assert_eq!(pair.all_role_changes(), before);
        Ok(())
    });
}

#[test]
fn a_full_disk_is_an_alarm_and_no_reason_to_fall() {
    story(|| {
        let mut pair = Pair::install_all(Plan::pair(), &config("", SLEEPER))?;
        let node = pair.node("hadev2")?;
        let fill = "mkdir -p /var/lib/avamgr && mount -t tmpfs -o size=16k none /var/lib/avamgr && head -c 16384 /dev/zero > /var/lib/avamgr/full";
        let output = node.command("sh").args(["-c", fill]).output()?;
        println!("{}", String::from_utf8_lossy(&output.stderr));
        pair.start_daemon("hadev1")?;
        pair.start_daemon("hadev2")?;
        pair.wait_role("hadev1", "active")?;
        pair.wait_role("hadev2", "standby")?;
        let alarmed = |status: &Value| status["alarms"].to_string().contains("writ");
        wait_until(SOON, "an alarm about the disk", || pair.status("hadev2").is_ok_and(|status| alarmed(&status)))?;
        let why = pair.avamgr("hadev2", &["why"])?;
        assert!(String::from_utf8_lossy(&why.stdout).contains("disk"), "{}", String::from_utf8_lossy(&why.stdout));
        let output = node.command("rm").args(["/var/lib/avamgr/full"]).output()?;
        assert!(output.status.success());
        wait_until(SOON, "the alarm to be over", || pair.status("hadev2").is_ok_and(|status| !alarmed(&status)))?;
        Ok(())
    });
}

/// A raw socket on an interface of a node.
fn raw(interface: &str) -> std::io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "packet sockets have no safe constructor here")]
    // SAFETY: the descriptor is new and ours.
    let socket = unsafe {
        let all = i32::from((libc::ETH_P_ALL as u16).to_be());
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, all);
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let index = nix::net::if_::if_nametoindex(interface).map_err(std::io::Error::from)?;
    #[expect(unsafe_code, reason = "a packet address has no safe form here")]
    // SAFETY: the address is as long as said and lives until the call returns.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = i32::try_from(index).unwrap_or(0);
        let length = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
        if libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(socket)
}

/// Datagrams that a node sends, by their source and destination, as they are on the wire.
pub(crate) fn record(
    node: &Host,
    interface: &str,
    ends: [[u8; 4]; 2],
    count: usize,
) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let frames = node.in_netns(|| {
        let socket = raw(interface)?;
        let (mut frames, begin) = (Vec::new(), Instant::now());
        while frames.len() < count && begin.elapsed() < Duration::from_secs(20) {
            let mut frame = vec![0; 2048];
            let length = nix::sys::socket::recv(socket.as_raw_fd(), &mut frame, nix::sys::socket::MsgFlags::empty())
                .map_err(std::io::Error::from)?;
            frame.truncate(length);
            // IPv4, UDP.
            if frame.len() > 42 && frame[12..14] == [8, 0] && frame[23] == 17 && frame[26..34] == ends.concat() {
                // The network card would have filled in the checksum later; none is allowed too.
                frame[40..42].fill(0);
                frames.push(frame);
            }
        }
        Ok(frames)
    })?;
    assert_eq!(frames.len(), count, "datagrams were recorded");
    Ok(frames)
}

pub(crate) fn play(node: &Host, interface: &str, frames: &[Vec<u8>]) -> Result<(), Box<dyn std::error::Error>> {
    node.in_netns(|| {
        let socket = raw(interface)?;
        for frame in frames {
            nix::sys::socket::send(socket.as_raw_fd(), frame, nix::sys::socket::MsgFlags::empty())
                .map_err(std::io::Error::from)?;
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    })?;
    Ok(())
}
