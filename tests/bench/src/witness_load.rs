//! One witness with many clusters: holders that renew their leases with the real frames, and what that costs it.

use std::net::UdpSocket;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use avamgr_core::cluster::{Incarnation, LinkId, NodeId, Role, Term};
use avamgr_core::wire::seal::{Key, Keyring, Secret};
use avamgr_core::wire::{GroupState, Heartbeat};
use avamgr_lab::{Host, Lab, Plan};

use crate::measure::Run;

/// Each holder renews so often.
const RENEWAL: Duration = Duration::from_millis(200);
const LEASE: Duration = Duration::from_millis(335);
const WATCHED: Duration = Duration::from_secs(10);
const WITNESS: &str = "172.16.9.250:6941";
const KEYS: &str = "/etc/avamgr/keys";
/// A quarter of the one secret of all clusters.
const SECRET: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];

/// The node that holds the lease of one cluster, without the rest of it.
struct Holder {
    keyring: Keyring,
    witness: Option<Incarnation>,
    sequence: u64,
}

impl Holder {
    fn renewal(&mut self) -> Heartbeat {
        self.sequence += 1;
        let group = GroupState {
            digest: 1,
            role: Role::Active,
            term: Term(1),
            claim: false,
            able: true,
            addresses: true,
            released_to: None,
            handover: None,
            wants_lease: true,
            promise: None,
        };
        Heartbeat {
            from: NodeId(0),
            to: NodeId::WITNESS,
            link: LinkId::WITNESS,
            incarnation: Incarnation(1),
            echo: self.witness,
            sequence: self.sequence,
            sent_nanos: 0,
            echo_nanos: 0,
            echo_delay_nanos: 0,
            wall_millis: 0,
            config_digest: 1,
            hears_you: true,
            probe: false,
            leaving: false,
            revision: 1,
            seen_revision: 0,
            groups: vec![group],
            request: None,
            lease: LEASE,
            voters: 1,
            fenced: Vec::new(),
            absence: Duration::ZERO,
        }
    }
}

/// Holders on one host, the one with number n called `cluster-n`, and their socket.
struct Crowd {
    holders: Vec<Holder>,
    /// One for each, so that an answer is told by its place.
    sockets: Vec<UdpSocket>,
    answered: u64,
    granted: u64,
}

impl Crowd {
    fn new(client: &Host, count: usize) -> Result<Self> {
        let key = Key { number: 1, secret: Secret::new(std::array::from_fn(|place| SECRET[place % 8])) };
        let holder = |number| -> Result<Holder> {
            let keyring = Keyring::new(&format!("cluster-{number}"), std::slice::from_ref(&key), 1)?;
            Ok(Holder { keyring, witness: None, sequence: 0 })
        };
        let holders = (0..count).map(holder).collect::<Result<_>>()?;
        let sockets = client.in_netns(|| {
            let open = |_| {
                let socket = UdpSocket::bind("172.16.9.1:0")?;
                socket.connect(WITNESS)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            };
            (0..count).map(open).collect::<std::io::Result<Vec<_>>>()
        })?;
        Ok(Self { holders, sockets, answered: 0, granted: 0 })
    }

    /// Every holder renews once in each [`RENEWAL`], one after the other. What has come back is read just before.
    fn renew_for(&mut self, time: Duration) -> Result<u64> {
        let begun = Instant::now();
        let pace = RENEWAL.div_f64(self.holders.len() as f64);
        let mut sent = 0;
        while begun.elapsed() < time {
            let due = (begun.elapsed().as_secs_f64() / pace.as_secs_f64()) as u64;
            while sent < due {
                let place = usize::try_from(sent % self.holders.len() as u64)?;
                self.turn(place)?;
                sent += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(sent)
    }

    fn turn(&mut self, place: usize) -> Result<()> {
        let (holder, socket) = (&mut self.holders[place], &self.sockets[place]);
        let mut datagram = [0; 2048];
        while let Ok(length) = socket.recv(&mut datagram) {
            let answer = holder.keyring.open(&datagram[..length]).ok().context("an answer that cannot be opened")?;
            holder.witness = Some(answer.incarnation);
            self.answered += 1;
            let ours = |group: &GroupState| group.promise.is_some_and(|promise| promise.holder == NodeId(0));
            self.granted += u64::from(answer.groups.iter().any(ours));
        }
        let mut sealed = Vec::new();
        let renewal = holder.renewal();
        holder.keyring.seal(&renewal, &mut sealed)?;
        // What is lost shows in the share that was answered.
        let _ = socket.send(&sealed);
        Ok(())
    }
}

/// What a witness costs that serves so many clusters.
pub(crate) fn run(clusters: usize, program: &Path) -> Result<Run> {
    let (alone, _) = measure(1, program)?;
    let (full, share) = measure(clusters, program)?;
    let kib = (full.1 - alone.1) / (clusters.max(2) - 1) as f64;
    Ok(vec![("witness_cpu_percent", full.0), ("kib_per_cluster", kib), ("granted_percent", share * 100.0)])
}

/// Percent of a processor and resident KiB; the share of the renewals that were granted.
fn measure(clusters: usize, program: &Path) -> Result<((f64, f64), f64)> {
    let lab = Lab::start(Plan::pair())?;
    let host = lab.host("arbitrator")?;
    let secret = SECRET.map(|byte| format!("{byte:02x}")).concat().repeat(4);
    host.write(KEYS, format!("1 {secret} send\n"))?;
    host.command("chmod").args(["600", KEYS]).output()?;
    let seat = |number| format!("[[cluster]]\nname = \"cluster-{number}\"\nkey_file = \"{KEYS}\"\n");
    host.write("/etc/avamgr/witness.toml", (0..clusters).map(seat).collect::<String>())?;
    host.command(program).spawn()?;
    thread::sleep(Duration::from_secs(2));
    let mut crowd = Crowd::new(&lab.host("client")?, clusters)?;
    // They learn the run of the witness, and it learns how long its promises are.
    crowd.renew_for(10 * RENEWAL)?;
    (crowd.answered, crowd.granted) = (0, 0);
    let (before, begun) = (host.usage()?, Instant::now());
    let sent = crowd.renew_for(WATCHED)?;
    let (cost, time) = (host.usage()? - before, begun.elapsed());
    ensure!(crowd.answered > 0, "the witness does not answer\n{}", host.log("avamgr-witness"));
    let percent = cost.run.as_secs_f64() / time.as_secs_f64() * 100.0;
    Ok(((percent, cost.rss_kib as f64), crowd.granted as f64 / sent as f64))
}
