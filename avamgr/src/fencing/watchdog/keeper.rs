//! Feeds the watchdog for as long as the loop comes round and says so. On a thread of its own: some drivers take their time.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};

use super::{Device, Watchdog, WatchdogError};
use crate::journal::service::Pulse;

/// Looks at the loop within one timeout. An idle loop comes round twice a second, and a timeout is a second or more.
const LOOKS: u32 = 10;

/// The thread. Dropping it stops the feeding and not the watchdog: the machine is reset.
#[derive(Debug)]
pub struct Keeper {
    end: Sender<()>,
    thread: JoinHandle<Result<(), WatchdogError>>,
}

impl Keeper {
    /// Feeds from now on.
    ///
    /// # Errors
    /// When there is no thread to be had: the machine will be reset.
    pub fn start<D: Device + Send + 'static>(watchdog: Watchdog<D>, pulse: Pulse) -> io::Result<Self> {
        let (end, ended) = channel();
        let thread = Builder::new().name("watchdog".into()).spawn(move || keep(watchdog, &pulse, &ended))?;
        Ok(Self { end, thread })
    }

    /// Everything it watches over is down: stops the watchdog too.
    ///
    /// # Errors
    /// When that fails: the machine will be reset.
    pub fn end(self) -> Result<(), WatchdogError> {
        // A thread that has ended says why below.
        let _ = self.end.send(());
        self.thread.join().unwrap_or(Ok(()))
    }
}

fn keep<D: Device>(mut watchdog: Watchdog<D>, pulse: &Pulse, ended: &Receiver<()>) -> Result<(), WatchdogError> {
    let mut seen = pulse.machine_beats();
    loop {
        match ended.recv_timeout(watchdog.timeout() / LOOKS) {
            Ok(()) => return watchdog.disarm(),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let beats = pulse.machine_beats();
        if beats != seen
            && let Err(error) = watchdog.feed()
        {
            tracing::error!("{error}");
        }
        seen = beats;
    }
}
