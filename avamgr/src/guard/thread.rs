//! The thread that does what is ordered.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use avamgr_core::cluster::GroupId;
use avamgr_core::time::Instant;
use tokio::sync::Notify;

use super::kernel::{Grip, Kernel, Way};
use super::mailbox::{End, Mailbox, Order, Told};
use super::{Gate, number};
use crate::netlink::{Error, Scope, Watcher};
use crate::{clock, realtime};

/// Without orders: how often to look whether the table is still there, and to try again what was refused.
const LOOK: Duration = Duration::from_secs(1);
/// From one installation of the table to the next: it takes milliseconds of a processor that others need, too.
const MEND_PAUSE: Duration = Duration::from_millis(100);

pub(super) type Notice = Box<dyn FnMut(String) + Send>;

/// Starts it in the network namespace of this thread.
pub(super) fn spawn(
    kernel: Kernel,
    interfaces: Vec<String>,
    names: BTreeMap<GroupId, String>,
    mailbox: Arc<Mailbox>,
    realtime: bool,
    notice: Notice,
) -> io::Result<JoinHandle<Result<(), Error>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anybody can order anything: what is open now is so in the kernel.
    let open = mailbox.orders().filter(|(_, order)| order.until.is_some());
    let done = open.map(|(group, order)| (group, Done { order, gate: Gate::Open })).collect();
    Builder::new().name("guard".to_owned()).spawn(move || {
        if realtime {
            tracing::debug!("guard: {}", realtime::claim());
        }
        let mended = Instant::BOOT;
        runtime.block_on(Keeper { kernel, interfaces, mailbox, notice, done, whole: true, mended, names }.run())
    })
}

struct Keeper {
    kernel: Kernel,
    interfaces: Vec<String>,
    mailbox: Arc<Mailbox>,
    notice: Notice,
    /// The last order that was carried out for each group.
    done: BTreeMap<GroupId, Done>,
    /// The table is as it should be, as far as is known.
    whole: bool,
    /// When it was last installed again, or that was tried.
    mended: Instant,
    names: BTreeMap<GroupId, String>,
}

#[derive(Clone, Copy)]
struct Done {
    order: Order,
    gate: Gate,
}

impl Keeper {
    async fn run(mut self) -> Result<(), Error> {
        let moved = Arc::new(Notify::new());
        for interface in &self.interfaces {
            tokio::spawn(watch(interface.clone(), Arc::clone(&moved)));
        }
        loop {
            match self.mailbox.ending() {
                None => {}
                Some(End::Leave) => return Ok(()),
                Some(End::Remove) => return self.kernel.remove(),
            }
            let result = self.round();
            self.tell_error(result.err());
            let look = tokio::select! {
                () = self.mailbox.woken() => false,
                () = moved.notified() => true,
                () = tokio::time::sleep(if self.whole { LOOK } else { MEND_PAUSE }) => true,
            };
            self.whole &= !(look && self.kernel.has_moved(&self.interfaces));
        }
    }

    /// Does all that is ordered, then looks whether the table still is what it was.
    fn round(&mut self) -> Result<(), Error> {
        self.mend()?;
        let mailbox = Arc::clone(&self.mailbox);
        let mut result = Ok(());
        for (group, order) in mailbox.orders() {
            // One that fails must not cost the others their time.
            result = result.and(self.carry_out(group, order));
        }
        self.inspect()?;
        self.mend()?;
        result
    }

    fn carry_out(&mut self, group: GroupId, order: Order) -> Result<(), Error> {
        let last = self.done.get(&group).map_or(Done { order: Order::default(), gate: Gate::Closed }, |done| *done);
        if order == last.order {
            return Ok(());
        }
        let gate = match order.until {
            None if last.gate == Gate::Open => {
                self.kernel.take(number(group))?;
                Gate::Closed
            }
            None => Gate::Closed,
            Some(until) if order.opening != last.order.opening => self.give(group, until, Way::Open)?,
            Some(until) if last.gate == Gate::Open => self.give(group, until, Way::Prolong)?,
            Some(_) => last.gate,
        };
        self.became(group, order, gate);
        Ok(())
    }

    fn give(&mut self, group: GroupId, until: Instant, way: Way) -> Result<Gate, Error> {
        if let Some(grip) = self.kernel.give(number(group), until, way)? {
            return Ok(passes(grip));
        }
        // Its time has run out, unless the table went away with it.
        self.inspect()?;
        if self.whole {
            return Ok(Gate::Lapsed);
        }
        self.mend()?;
        Ok(self.kernel.give(number(group), until, way)?.map_or(Gate::Lapsed, passes))
    }

    fn inspect(&mut self) -> Result<(), Error> {
        if self.whole && self.kernel.is_damaged()? {
            self.whole = false;
            // An interface that goes away may take its chains with it.
            if !self.kernel.has_moved(&self.interfaces) {
                let what = "the table of the guard was changed or removed by somebody else: it is installed again";
                (self.notice)(what.to_owned());
            }
        }
        Ok(())
    }

    /// Installs the table again where it is not whole; groups whose lease runs are opened for the rest of what they had.
    fn mend(&mut self) -> Result<(), Error> {
        let now = clock::now();
        if self.whole || now.since(self.mended) < MEND_PAUSE {
            return Ok(());
        }
        self.mended = now;
        self.kernel.reinstall(&self.interfaces)?;
        let open: Vec<_> =
            self.done.iter().filter(|(_, done)| done.gate == Gate::Open).map(|(g, d)| (*g, *d)).collect();
        for (group, Done { order, gate: _ }) in open {
            if let Some(until) = order.until {
                let grip = self.kernel.give(number(group), until, Way::Open)?;
                self.became(group, order, grip.map_or(Gate::Lapsed, passes));
            }
        }
        self.whole = true;
        Ok(())
    }

    fn became(&mut self, group: GroupId, order: Order, gate: Gate) {
        let before = self.done.insert(group, Done { order, gate });
        if gate == Gate::Lapsed
            && before.is_none_or(|before| before.gate != gate || before.order.opening != order.opening)
        {
            let name = self.names.get(&group).map_or("", String::as_str);
            (self.notice)(format!(
                "{name}: the lease was not renewed in time, its VIPs are dark until it is opened again"
            ));
        }
        self.mailbox.tell(group, order.opening, Told { gate, until: order.until.unwrap_or_default() });
    }

    fn tell_error(&mut self, error: Option<Error>) {
        let error = error.map(|error| error.to_string());
        if self.mailbox.tell_error(error.clone()) {
            (self.notice)(error.unwrap_or_else(|| "the guard works again".to_owned()));
        }
    }
}

fn passes(grip: Grip) -> Gate {
    match grip {
        Grip::Held => Gate::Open,
        Grip::Over => Gate::Lapsed,
    }
}

/// Tells when an interface may have become another one. What it misses is found by the next look.
async fn watch(interface: String, moved: Arc<Notify>) {
    loop {
        if let Ok(mut watcher) = Watcher::open(&interface, Scope::Link).await {
            moved.notify_one();
            while watcher.next().await.is_ok() {
                moved.notify_one();
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}
