//! Figures for the bench document: what a client sees over TIPC and over UDP, side by side. The processor is emulated, so
//! only the ratio of two of them says something. `tests/vm/run figures`.

use std::error::Error;
use std::time::Duration;

use avamgr_lab::{Plan, mark, story};

use crate::pair::{Pair, SLEEPER, SOON, config, vip};
use crate::tipc;

/// Runs of each kind.
const RUNS: usize = 5;

#[derive(Clone, Copy)]
enum Carrier {
    Udp,
    Tipc,
}

fn start(carrier: Carrier, switched: bool) -> Result<Pair, Box<dyn Error>> {
    let plan = |plan: Plan| if switched { plan.switched() } else { plan };
    match carrier {
        Carrier::Udp => {
            let text = config("", SLEEPER).replace("failover_budget = \"1s\"", "failover_budget = \"3s\"");
            Pair::start(plan(Plan::pair()), &text)
        }
        Carrier::Tipc => tipc::both_in(plan(Plan::pair())),
    }
}

/// What the client missed when a cable was pulled, and when the ACTIVE node lost its power.
fn outages(carrier: Carrier, switched: bool) -> Result<[Duration; 2], Box<dyn Error>> {
    let pair = start(carrier, switched)?;
    let cut = mark();
    pair.lab.pull("hb1")?;
    std::thread::sleep(Duration::from_secs(3));
    let by_cut = pair.outage(cut);
    pair.lab.plug("hb1")?;
    std::thread::sleep(Duration::from_secs(3));
    let off = mark();
    pair.lab.power_off("hadev1")?;
    pair.wait_role("hadev2", "active")?;
    pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
    let by_power = pair.outage(off);
    pair.never_two_owners()?;
    Ok([by_cut, by_power])
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[test]
fn figures_of_tipc_beside_udp() {
    story(|| {
        println!(
            "| link | cable | cable pulled: client's outage | power-off: client's outage, median of {RUNS} (all) |"
        );
        for (wiring, switched) in [("back to back", false), ("through switches", true)] {
            let mut all = [Vec::new(), Vec::new()];
            let mut cuts = [Vec::new(), Vec::new()];
            for _ in 0..RUNS {
                for (place, carrier) in [Carrier::Udp, Carrier::Tipc].into_iter().enumerate() {
                    let [by_cut, by_power] = outages(carrier, switched)?;
                    cuts[place].push(by_cut);
                    all[place].push(by_power);
                }
            }
            for (place, name) in ["two over UDP", "TIPC, two bearers"].into_iter().enumerate() {
                let (cut, power) = (median(cuts[place].clone()), median(all[place].clone()));
                let each: Vec<String> = all[place].iter().map(|one| one.as_millis().to_string()).collect();
                let (cut, power) = (cut.as_millis(), power.as_millis());
                println!("| {name} | {wiring} | {cut} ms | {power} ms ({}) |", each.join(", "));
            }
        }
        Ok(())
    });
}
