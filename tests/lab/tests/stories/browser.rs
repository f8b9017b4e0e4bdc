//! An operator with a browser on another machine, and both nodes of the pair: what is seen of a cut cable, of a move and of a
//! daemon that is gone. What was on the screen is kept in `target/tmp/screenshots`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use avamgr_lab::{Plan, mark, story};

use crate::chromium::{Browser, axe};
use crate::pair::{Outcome, PAIR, Pair, SLEEPER, config, program};

/// An account of every Debian that nobody logs in with.
const ACCOUNT: &str = "www-data";
const PASSWORD: &str = "correct horse battery staple";

/// Where the pages of the nodes are for the client: on the network of the service, encrypted.
const PAGES: [&str; 2] = ["https://172.16.9.54:8443/", "https://172.16.9.55:8443/"];

/// With users that both nodes share.
fn shown(directory: &std::path::Path) -> String {
    let users = directory.join("users").display().to_string();
    let table = format!("[web]\nlisten = \"0.0.0.0:8443\"\nuser = \"{ACCOUNT}\"\nusers = \"{users}\"\n");
    format!("{}\n{table}", config("", SLEEPER))
}

fn take_in(pair: &Pair, name: &str, right: &str) -> Outcome {
    let line = format!("echo '{PASSWORD}' | '{}' user add {name} --right {right}", program("avamgr").display());
    let taken = pair.node(PAIR[0])?.command("sh").args(["-c", &line]).output()?;
    assert!(taken.status.success(), "{taken:?}");
    Ok(())
}

#[test]
fn an_operator_sees_a_cable_cut_moves_the_group_and_is_told_when_nobody_knows() {
    // Nothing can be fetched from within the lab.
    axe::source();
    story(|| {
        let directory = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir()?;
        let pair = Arc::new(Pair::start(Plan::pair(), &shown(directory.path()))?);
        take_in(&pair, "alice", "operator")?;
        let client = pair.lab.host("client")?;
        let shared = Arc::clone(&pair);
        let session = client.spawn_thread("browser", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(look_and_steer(&shared));
        })?;
        match session.join() {
            Ok(ended) => ended?,
            Err(panic) => {
                pair.tell();
                std::panic::resume_unwind(panic);
            }
        }
        pair.never_two_owners()
    });
}

async fn look_and_steer(pair: &Pair) {
    let browser = Browser::start().await;
    browser.client.goto(PAGES[0]).await.expect("a page");
    browser.wait("#login", "Say who you are").await;
    browser.mind().await;
    assert_eq!(browser.barriers().await, [""; 0], "for whoever logs in");
    browser.shoot("login").await;
    browser.log_in("alice", PASSWORD).await;
    browser.wait("#who", "alice, operator").await;
    browser.wait("#groups", "ACTIVE").await;
    browser.wait("#links", "primary").await;
    browser.shoot("well").await;
    assert_eq!(browser.barriers().await, [""; 0], "for whoever looks");

    let cut = mark();
    pair.lab.pull("hb1").expect("a cable");
    browser.wait("#links", "down").await;
    let seen = cut.elapsed();
    println!("the cut cable was seen after {seen:?}");
    assert!(seen < Duration::from_secs(1), "{seen:?}");
    browser.wait("#history", "primary").await;
    browser.shoot("cable").await;
    pair.lab.heal_all().expect("cables");

    let begun = mark();
    browser.wait("#groups", "Switch over").await;
    browser.click("#groups button[data-wish*=switchover]").await;
    browser.wait("#order-title", "over to hadev2?").await;
    browser.wait("#order-steps", "hadev2").await;
    browser.shoot("asked").await;
    assert_eq!(browser.barriers().await, [""; 0], "for whoever is asked");
    browser.click("#order-confirm").await;
    browser.wait("#order-answer", "Done:").await;
    browser.shoot("moved").await;
    browser.click("#order-close").await;
    browser.wait("#groups", "STANDBY").await;
    browser.wait("#history", "alice at 172.16.9.").await;
    pair.probe.wait_for_answer(crate::pair::vip(), "hadev2", crate::pair::SOON).expect("the address answers there");
    let outage = pair.outage(begun);
    println!("the address was silent for {outage:?} at most");
    assert!(outage < Duration::from_secs(1), "{outage:?}");

    // The other node's page says whose it is, and asks again who he is.
    browser.client.goto(PAGES[1]).await.expect("a page");
    browser.wait("#login", "Say who you are").await;
    browser.mind().await;
    browser.log_in("alice", PASSWORD).await;
    browser.wait("#title", "hadev2").await;
    browser.wait("#groups", "ACTIVE").await;

    pair.daemon(PAIR[1]).kill9().expect("a daemon");
    browser.wait("#unknown", "UNKNOWN").await;
    browser.wait_title("UNKNOWN – avamgr").await;
    browser.shoot("unknown").await;
    assert_eq!(browser.barriers().await, [""; 0], "for whoever is left alone");
    assert_eq!(browser.complaints().await, [""; 0]);
}
