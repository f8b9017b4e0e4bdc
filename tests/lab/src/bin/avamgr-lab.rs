//! A tour of the lab for an ordinary account: two nodes, one address, and what a client sees of its move.
//!
//! It shows, and a test asserts with it, that the lab needs neither root nor any installed program.

use std::error::Error;
use std::net::IpAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use avamgr_lab::{Carrier, Cidr, Lab, Plan, Probe, VIP, enter_user_namespace, wait_until};

const SOON: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // Before anything else: the kernel lets only a process with one thread do this.
    if let Err(error) = enter_user_namespace() {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    match tour() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn tour() -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    let lab = Lab::start(Plan::pair())?;
    println!("hadev1, hadev2, client, arbitrator: up after {:?}", begin.elapsed());
    let (a, b) = (lab.host("hadev1")?, lab.host("hadev2")?);
    let (vip, on_lan): (IpAddr, Cidr) = (VIP.parse()?, format!("{VIP}/24").parse()?);
    let probe = Probe::start(&lab.host("client")?, &[vip])?;
    a.add_addresses("eth1", &[on_lan])?;
    probe.wait_for_answer(vip, "hadev1", SOON)?;
    println!("{VIP} answers from hadev1");

    let before = Instant::now();
    thread::sleep(Duration::from_millis(100));
    let off = lab.power_off("hadev1")?;
    println!("hadev1 without power after {:?}", off.took);
    wait_until(SOON, "hadev2 to see both links without carrier", || {
        ["eth3", "eth4"].iter().all(|nic| b.carrier(nic).is_ok_and(|carrier| carrier == Carrier::NoCarrier))
    })?;
    b.add_addresses("eth1", &[on_lan])?;
    b.announce("eth1", VIP.parse()?)?;
    probe.wait_for_answer(vip, "hadev2", SOON)?;
    let outage = probe.outage_since(vip, before);
    println!("{VIP} answers from hadev2; the client's outage: {:?}", outage.longest);

    lab.power_on("hadev1")?;
    lab.settle()?;
    lab.cross_check_owners(SOON)?;
    println!("hadev1 is back; {VIP} is owned by {}", lab.owners().of(vip).join(" and "));
    Ok(())
}
