//! The page in a real browser.

use std::time::Duration;

use avamgr::clock;
use avamgr_core::cluster::Role;
use avamgr_core::control::{AlarmStatus, LinkStatus};
use fantoccini::Locator;
use fantoccini::key::Key;

use crate::answers::link;
use crate::chromium::Browser;
use crate::house::House;
use crate::rules::watched;

#[test]
fn the_page_shows_what_is_so_and_says_when_nobody_knows() {
    let mut house = House::start();
    house.keep_fresh();
    house.record("the first of all");
    (0..1200).for_each(|number| house.record(&format!("noise {number}")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = Browser::start().await;
        browser.client.goto(&format!("http://{}/", house.address())).await.unwrap();
        browser.wait("#groups", "ACTIVE").await;
        browser.wait_title("hadev1 dre ACTIVE").await;
        assert_eq!(browser.text("#unknown").await, "");
        assert!(browser.text("#attention").await.contains("Nothing."));
        browser.mind().await;

        // What is told is text, whatever it looks like.
        house.record("<img src=x onerror=\"complaints.push('ran')\">");
        browser.wait("#history", "<img src=x").await;
        let text = "alarm <b>one</b>".to_owned();
        house.tell(|status| {
            status.alarms.push(AlarmStatus { since: status.now, text });
            status.groups[0].role = Role::Deactivating;
        });
        browser.wait("#attention", "alarm <b>one</b>").await;
        browser.wait("#groups", "DEACTIVATING").await;

        // What somebody has begun to write stays while the page goes on.
        let field = browser.client.find(Locator::Css("#filter-text")).await.unwrap();
        field.send_keys("thing").await.unwrap();
        house.record("something");
        browser.wait("#history", "something").await;
        assert!(!browser.text("#history").await.contains("<img"), "it does not fit");

        // What is looked for is looked for in the whole history, and each event says what led to it.
        field.clear().await.unwrap();
        field.send_keys("first of all").await.unwrap();
        browser.wait("#history", "the first of all").await;
        browser.click("#filter-severity option[value=alarm]").await;
        field.clear().await.unwrap();
        field.send_keys(" ").await.unwrap();
        house.record_silence();
        browser.wait("#history", "hadev2 is silent on every path").await;
        assert!(!browser.text("#history").await.contains("no carrier"), "it is a warning only");
        browser.click("#history button[data-number]").await;
        browser.wait("#history ol.chain", "primary to hadev2 down: no carrier").await;
        browser.click("#filter-severity option[value=info]").await;
        browser.click("#filter-group option[data-id]").await;
        browser.wait("#history", "Nothing fits.").await;
        browser.click("#filter-group option").await;

        house.lose_daemon();
        browser.wait("#unknown", "UNKNOWN").await;
        browser.wait("#unknown", "avamgrd").await;
        browser.wait_title("UNKNOWN – avamgr").await;
        house.bring_daemon();
        house.tell(|_| ());
        browser.wait("#attention", "Nothing.").await;
        assert_eq!(browser.text("#unknown").await, "");
        assert_eq!(browser.complaints().await, [""; 0]);

        // The window itself is gone.
        house.close_window();
        browser.wait("#unknown", "UNKNOWN").await;
    });
}

const SWITCH_OVER: &str = "#groups button[data-wish]";

#[test]
fn an_operator_says_who_he_is_and_switches_over_with_the_page() {
    let house = House::asking(Duration::from_secs(600));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = Browser::start().await;
        browser.client.goto(&format!("http://{}/", house.address())).await.unwrap();
        browser.wait("#login", "Say who you are").await;
        browser.mind().await;
        assert_eq!(browser.text("#groups").await, "", "nothing is shown to strangers");
        browser.log_in("alice", "not her password").await;
        browser.wait("#login-trouble", "wrong name or password").await;

        browser.log_in("bob", "password of bob").await;
        browser.wait("#groups", "ACTIVE").await;
        browser.wait("#who", "bob, viewer").await;
        assert_eq!(browser.count("button[data-wish]").await, 0, "he may look");
        browser.click("#who button").await;
        browser.wait("#login", "Say who you are").await;

        browser.log_in("alice", "password of alice").await;
        browser.wait("#who", "alice, operator").await;
        browser.wait("#groups", "Switch over").await;
        browser.click(SWITCH_OVER).await;
        browser.wait("#order-title", "Switch dre over to hadev2?").await;
        browser.wait("#order-steps", "move it").await;
        browser.click("#order-confirm").await;
        browser.wait("#order-answer", "Done: moved for alice at 127.0.0.1").await;
        browser.wait("#order-steps", "stopped").await;
        browser.click("#order-close").await;
        browser.wait("#history", "switchover dre --to hadev2").await;

        browser.click("#node button[data-wish*=online], #node button[data-wish*=offline]").await;
        browser.wait("#order-title", "?").await;
        browser.click("#order-close").await;
        assert_eq!(browser.count("dialog[open]").await, 0);
        assert_eq!(browser.complaints().await, [""; 0]);
    });
}

#[test]
fn what_lost_a_conflict_is_settled_with_the_page() {
    let house = House::asking(Duration::from_secs(600));
    house.bring_courier();
    house.keep_fresh();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = Browser::start().await;
        browser.client.goto(&format!("http://{}/", house.address())).await.unwrap();
        browser.wait("#login", "Say who you are").await;
        browser.mind().await;
        browser.log_in("alice", "password of alice").await;
        browser.wait("#who", "alice, operator").await;
        house.tell_of_rules(watched(clock::now(), 100));
        browser.wait("#rules", "100 versions lost").await;
        browser.wait("#rules", "[2Jroute.conf").await;
        assert_eq!(browser.count("#rules button[data-wish*=restore]").await, 50);
        // The youngest is the first.
        browser.click("#rules tr:first-child button[data-wish*=settle]").await;
        browser.wait("#order-title", "route.conf as it is?").await;
        browser.click("#order-confirm").await;
        browser.wait("#order-answer", "Done: re/route.conf is settled").await;
        browser.click("#order-close").await;
        browser.click("#rules button[data-wish*=resync]").await;
        browser.wait("#order-title", "Compare all rules").await;
        browser.click("#order-confirm").await;
        browser.wait("#order-answer", "Done: 4 paths were read and compared").await;
        browser.click("#order-close").await;
        house.tell_of_rules(watched(clock::now(), 0));
        browser.wait_gone("#rules table").await;
        assert_eq!(browser.complaints().await, [""; 0]);
    });
}

#[test]
fn the_page_can_be_used_in_the_dark_on_a_phone_and_without_a_mouse() {
    let house = House::asking(Duration::from_secs(600));
    house.keep_fresh();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = Browser::in_the_dark().await;
        browser.client.set_window_size(400, 800).await.unwrap();
        browser.client.goto(&format!("http://{}/", house.address())).await.unwrap();
        browser.wait("#login", "Say who you are").await;
        browser.mind().await;
        assert_eq!(browser.barriers().await, [""; 0], "for whoever logs in");
        browser.log_in("alice", "password of alice").await;
        browser.wait("#groups", "Switch over").await;
        house.tell(|status| status.peers[0].links.push(link(status.now)));
        browser.wait("#links", "Bearers of primary").await;
        browser.shoot("phone").await;
        assert_eq!(browser.barriers().await, [""; 0], "for whoever looks");
        let ground = "return getComputedStyle(document.body).backgroundColor";
        assert_eq!(browser.client.execute(ground, Vec::new()).await.unwrap(), "rgb(13, 17, 23)", "it is dark");
        let wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(browser.client.execute(wide, Vec::new()).await.unwrap(), false, "nothing is beside the screen");
        let seen = "const it = document.querySelector('#links table:has(caption) td:nth-child(3)'); \
                    return it.getBoundingClientRect().right <= document.documentElement.clientWidth";
        assert_eq!(
            browser.client.execute(seen, Vec::new()).await.unwrap(),
            true,
            "how a bearer stands is on the screen"
        );

        let (tab, enter) = (String::from(char::from(Key::Tab)), String::from(char::from(Key::Enter)));
        let mut place = String::new();
        for _ in 0..9 {
            place = browser.press(&tab).await;
            if place.starts_with("Switch over") {
                break;
            }
        }
        assert!(place.starts_with("Switch over"), "{place}");
        browser.press(&enter).await;
        browser.wait("#order-steps", "move it").await;
        assert_eq!(browser.barriers().await, [""; 0], "for whoever is asked");
        browser.press(&enter).await;
        browser.wait("#order-answer", "Done: moved for alice").await;
        assert!(browser.press(&String::from(char::from(Key::Escape))).await.starts_with("Switch over"), "where he was");
        assert_eq!(browser.count("dialog[open]").await, 0);
        assert_eq!(browser.complaints().await, [""; 0]);
    });
}

#[test]
fn what_carries_a_link_stands_below_it() {
    let house = House::start();
    house.keep_fresh();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = Browser::start().await;
        browser.client.goto(&format!("http://{}/", house.address())).await.unwrap();
        browser.mind().await;
        let plain = |now| LinkStatus { link: "secondary".to_owned(), bearers: Vec::new(), ..link(now) };
        house.tell(|status| status.peers[0].links.push(plain(status.now)));
        browser.wait("#links", "secondary").await;
        assert_eq!(browser.count("#links table").await, 1, "it has none");

        house.tell(|status| {
            let mut odd = link(status.now);
            odd.bearers[1].bearer = "<b>eth4</b>".to_owned();
            status.peers[0].links.extend([plain(status.now), odd]);
        });
        browser.wait("#links caption", "Bearers of primary to hadev2").await;
        assert_eq!(browser.count("#links caption").await, 1, "of the link that has some");
        let table = "#links table:has(caption)";
        assert_eq!(browser.count(&format!("{table} th[scope=col]")).await, 5);
        let [good, bad] = [1, 2].map(|row| format!("{table} tbody tr:nth-child({row})"));
        let row = browser.text(&good).await;
        assert!(row.starts_with("eth3 up for ") && row.ends_with(" 1.5 s 10 70 sent, 2 retransmitted"), "{row}");
        assert_eq!(browser.text(&format!("{good} .good")).await, "up");
        assert_eq!(browser.text(&format!("{good} .warn")).await, "2 retransmitted");
        let row = browser.text(&bad).await;
        assert!(row.starts_with("<b>eth4</b> down for 3 min 2") && row.ends_with(" s – – –"), "{row}");
        assert_eq!(browser.text(&format!("{bad} .bad")).await, "down");
        assert_eq!(browser.barriers().await, [""; 0]);
        browser.shoot("bearers").await;
        assert_eq!(browser.complaints().await, [""; 0]);
    });
}
