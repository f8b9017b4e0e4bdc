//! What somebody before a screen sees, and when.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::bed::{ADDRESS, Bed};
use crate::browser::Browser;
use crate::{Figure, ms, percentile};

/// From the beginning of the way to the page until the status stands on it.
const FIRST_VIEW: &str = "return performance.getEntriesByName('first-view')[0]?.startTime ?? null";

/// Notes for each event that comes on the screen how old it is by then; both clocks are this machine's.
const NOTE: &str = "window.seen = []; let last = null; \
    new MutationObserver(() => requestAnimationFrame(() => { \
        const time = document.querySelector('#history tbody .time')?.textContent; \
        if (time === undefined || time === last) return; \
        last = time; \
        seen.push(Date.now() - Date.parse(`${time.replace(' ', 'T')}Z`)); \
    })).observe(document.getElementById('history'), { subtree: true, childList: true, characterData: true });";

/// The page opened and something happening, so often each.
pub(crate) fn views(bed: &Bed, runs: usize) -> Result<[Figure; 2]> {
    thread::scope(|scope| {
        let (orders, happen) = std::sync::mpsc::channel::<()>();
        let session = bed.node()?.spawn_thread("browser", move || session(runs, &orders))?;
        let feeder = scope.spawn(move || {
            happen.iter().enumerate().try_for_each(|(number, ())| {
                thread::sleep(Duration::from_millis(200));
                bed.happen(number)
            })
        });
        let (mut first, mut late) = session.join().map_err(|_| anyhow!("the browser has panicked"))???;
        feeder.join().map_err(|_| anyhow!("what should happen has panicked"))??;
        let of = |values: &mut [Duration], percent| percentile(values, percent).context("nothing was seen");
        let (median, most) = (of(&mut first, 50)?, of(&mut first, 100)?);
        let (seen, latest) = (of(&mut late, 50)?, of(&mut late, 100)?);
        Ok([
            Figure {
                what: format!("first view in a browser ({runs} times): median / most"),
                measured: format!("{} / {} ms", ms(median), ms(most)),
                wanted: "300 ms",
                met: median <= Duration::from_millis(300),
            },
            Figure {
                what: format!("from an event to the screen ({} of them): median / most", late.len()),
                measured: format!("{} / {} ms", ms(seen), ms(latest)),
                wanted: "100 ms",
                met: latest <= Duration::from_millis(100),
            },
        ])
    })
}

type Times = Vec<Duration>;

fn session(runs: usize, orders: &std::sync::mpsc::Sender<()>) -> Result<(Times, Times)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let browser = Browser::start().await;
        let page = format!("http://{}/", std::net::SocketAddr::from(ADDRESS));
        let mut first = Vec::new();
        for _ in 0..runs {
            // Nothing of the last view is kept.
            browser.client.goto("about:blank").await?;
            browser.client.goto(&page).await?;
            browser.wait("#groups", "ACTIVE").await;
            let millis = browser.client.execute(FIRST_VIEW, Vec::new()).await?;
            first.push(Duration::from_secs_f64(millis.as_f64().context("the page has not marked it")? / 1000.0));
        }
        browser.client.execute(NOTE, Vec::new()).await?;
        let mut late = Vec::new();
        while late.len() < runs {
            orders.send(()).context("nothing happens any more")?;
            tokio::time::sleep(Duration::from_millis(700)).await;
            let seen = browser.client.execute("return seen.splice(0)", Vec::new()).await?;
            let seen: Vec<u64> = serde_json::from_value(seen)?;
            late.extend(seen.into_iter().map(Duration::from_millis));
        }
        Ok((first, late))
    })
}
