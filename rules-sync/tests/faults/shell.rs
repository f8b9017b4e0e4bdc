//! Through a remote shell, in the place of our own daemons.

use std::fs;
use std::process::Command;

use avamgr_lab::{story, wait_until};

use nix::mount::{MsFlags, mount};
use nix::unistd::{Uid, User};

use crate::bed::{Bed, Setup, address};
use crate::node::SOON;

/// The same path on both nodes, as a remote shell needs it, and the files of each.
const DISK: &str = "/run/faults";
const SSHD: &str = "/usr/sbin/sshd";

/// A key of its own for the nodes, and for the doors.
fn keygen(path: &std::path::Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    let hint = "this story needs ssh and sshd (Debian: apt-get install openssh-server)";
    assert!(made.is_ok_and(|status| status.success()) && fs::exists(SSHD).unwrap(), "{hint}");
}

fn serve(bed: &Bed, node: usize) {
    let (scratch, host) = (bed.lab.scratch(), &bed.nodes[node].host);
    let config = host.dir().join("sshd_config");
    let text = format!(
        "Port 2222\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
         PermitRootLogin yes\nPasswordAuthentication no\n",
        address(0, node),
        scratch.join("door").display(),
        scratch.join("user.pub").display(),
    );
    fs::write(&config, text).unwrap();
    let home = User::from_uid(Uid::effective()).unwrap().unwrap().dir;
    bed.nodes[node].visit(|| {
        // What the account's own shell does at its start is not of this story.
        mount(None::<&str>, &home, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        fs::create_dir_all("/run/sshd")
    });
    let sshd = host.command(SSHD).arg("-D").arg("-e").arg("-f").arg(&config).spawn().unwrap();
    wait_until(SOON, "sshd", || sshd.log().contains("Server listening")).unwrap();
}

#[test]
fn rules_travel_through_a_remote_shell() {
    story(|| {
        let bed = Setup { disk: Some(DISK.into()), ..Setup::default() }.make();
        let scratch = bed.lab.scratch();
        keygen(&scratch.join("door"));
        keygen(&scratch.join("user"));
        let shell = format!(
            "ssh -p 2222 -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=3",
            scratch.join("user").display()
        );
        for (index, node) in bed.nodes.iter().enumerate() {
            serve(&bed, index);
            let config = fs::read_to_string(node.config())?;
            fs::write(node.config(), config.replace("[rules]\n", &format!("[rules]\nssh = {shell:?}\n")))?;
            node.prepare(None);
            node.start();
        }
        bed.write(0, "rule", "through a shell");
        let come = wait_until(SOON, "the first rule", || bed.nodes[1].read("rule").is_some());
        // What both sides of the shell had to say.
        come.unwrap_or_else(|error| {
            let said =
                |node: &crate::node::Node| format!("{}\n{}\n{}", node.facts(), node.log(), node.host.log("sshd"));
            panic!("{error}\n{}", bed.nodes.iter().map(said).collect::<String>())
        });
        for number in 0..50 {
            bed.write(number % 2, format!("r '{number}\n"), format!("rule {number}"));
        }
        bed.wait_settled(SOON);
        bed.nodes[1].remove("rule");
        bed.nodes[0].wait_gone("rule");
        // While the link is down it is tried again and again.
        bed.lab.pull("hb1")?;
        bed.write(0, "rule", "made meanwhile");
        bed.nodes[0].wait_status("it to be told", |status| status.peers[0].error.is_some());
        bed.lab.heal_all()?;
        bed.nodes[1].wait_holds("rule", b"made meanwhile");
        assert_eq!(bed.finish(SOON).len(), 0);
        Ok(())
    });
}
