//! THE WATCHDOG: a timer of this machine that resets it when nobody feeds it.
//!
//! Opening the device starts the timer; from then on only an orderly [`Watchdog::disarm`] stops it. A program that ends in any
//! other way, or hangs, takes the machine with it: that is what it is for.

mod keeper;

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use avamgr_core::control::words::duration;
use thiserror::Error;

pub use keeper::Keeper;

/// Written before the device is closed: the end is meant.
const MAGIC_CLOSE: &[u8] = b"V";
/// Anything else is food.
const FOOD: &[u8] = b"\0";

/// It understands [`MAGIC_CLOSE`] (`WDIOF_MAGICCLOSE`).
const CAN_DISARM: u32 = 0x0100;

/// What a device can do and what it is called (`struct watchdog_info`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Bits `WDIOF_*`.
    pub options: u32,
    /// Of its firmware.
    pub firmware_version: u32,
    /// Its name, ended by a zero where there is room for one.
    pub identity: [u8; 32],
}

impl Info {
    fn name(&self) -> String {
        let name = CStr::from_bytes_until_nul(&self.identity).map_or(&self.identity[..], CStr::to_bytes);
        String::from_utf8_lossy(name).trim().to_owned()
    }
}

/// What is asked of a watchdog. The kernel's is [`Kernel`].
pub trait Device {
    /// What it is.
    ///
    /// # Errors
    /// `ENOTTY` when it is no watchdog.
    fn info(&self) -> io::Result<Info>;
    /// Sets the time from the last feeding to the reset, in seconds. The device may choose another.
    ///
    /// # Errors
    /// What the driver says.
    fn set_timeout(&self, seconds: i32) -> io::Result<()>;
    /// The time in force, in seconds.
    ///
    /// # Errors
    /// What the driver says.
    fn timeout(&self) -> io::Result<i32>;
    /// Feeds it, or tells it that the end is meant.
    ///
    /// # Errors
    /// What the driver says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Why a watchdog is not used.
#[derive(Debug, Error)]
pub enum WatchdogError {
    /// It cannot be opened.
    #[error("watchdog {}: cannot be opened: {source}{hint}", .path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
        /// What to look at.
        hint: &'static str,
    },
    /// Something else has this name.
    #[error("watchdog {}: is not a watchdog: correct `device` of [watchdog]", .0.display())]
    NotAWatchdog(PathBuf),
    /// The driver refuses.
    #[error("watchdog {}: cannot {action}: {source}", .path.display())]
    Driver {
        /// The device.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// It would wait longer than it may.
    #[error(
        "watchdog {} ({identity}): grants {} where {} was asked for: raise `timeout` of [watchdog], or use another device",
        .path.display(), duration(*.granted), duration(*.asked)
    )]
    TooLong {
        /// The device.
        path: PathBuf,
        /// Its name.
        identity: String,
        /// What it grants.
        granted: Duration,
        /// What was asked for.
        asked: Duration,
    },
}

/// A watchdog that runs. Dropping it does not stop it: an end that is not meant is a reset.
#[derive(Debug)]
pub struct Watchdog<D = Kernel> {
    device: D,
    path: PathBuf,
    identity: String,
    timeout: Duration,
    can_disarm: bool,
}

impl Watchdog<Kernel> {
    /// Opens the device, which starts it.
    ///
    /// # Errors
    /// When it is not there, is none, or does not reset in time. It does not run then, as far as it can be stopped.
    pub fn open(path: &Path, timeout: Duration) -> Result<Self, WatchdogError> {
        Self::arm(Kernel::open(path)?, path, timeout)
    }
}

impl<D: Device> Watchdog<D> {
    /// Takes an open device into use that resets this machine `timeout` (whole seconds) after the last feeding, or sooner.
    ///
    /// # Errors
    /// When it is no watchdog or does not reset in time.
    pub fn arm(device: D, path: &Path, timeout: Duration) -> Result<Self, WatchdogError> {
        let info = device.info().map_err(|source| match source.raw_os_error() {
            Some(libc::ENOTTY | libc::EINVAL) => WatchdogError::NotAWatchdog(path.to_owned()),
            Some(_) | None => driver(path, "tell what it is", source),
        })?;
        let can_disarm = info.options & CAN_DISARM != 0;
        let mut this = Self { device, path: path.to_owned(), identity: info.name(), timeout, can_disarm };
        match this.set(timeout) {
            Ok(granted) => {
                this.timeout = granted;
                Ok(this)
            }
            Err(error) => {
                // It runs since it was opened; what stands in the way of using it must not reset the machine as well.
                let _ = this.disarm();
                Err(error)
            }
        }
    }

    fn set(&mut self, asked: Duration) -> Result<Duration, WatchdogError> {
        let seconds = i32::try_from(asked.as_secs()).unwrap_or(i32::MAX);
        let set = self.device.set_timeout(seconds);
        // One that cannot be set may be fast enough as it is.
        let granted = match (self.device.timeout(), set) {
            (Ok(granted), _) => granted,
            (Err(_), Err(source)) => return Err(driver(&self.path, "set its timeout", source)),
            (Err(source), Ok(())) => return Err(driver(&self.path, "read its timeout", source)),
        };
        let granted = Duration::from_secs(u64::try_from(granted).unwrap_or(u64::MAX));
        if granted > asked {
            let (path, identity) = (self.path.clone(), self.identity.clone());
            return Err(WatchdogError::TooLong { path, identity, granted, asked });
        }
        self.feed()?;
        Ok(granted)
    }

    /// What the driver calls it.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// From the last feeding to the reset: what was asked for, or less.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether [`Self::disarm`] tells it that the end is meant; otherwise closing it is enough, or nothing is.
    pub fn can_disarm(&self) -> bool {
        self.can_disarm
    }

    /// Begins its time anew.
    ///
    /// # Errors
    /// When the driver refuses: the machine will be reset.
    pub fn feed(&mut self) -> Result<(), WatchdogError> {
        self.device.write(FOOD).map_err(|source| driver(&self.path, "be fed", source))
    }

    /// Stops it, after everything it watches over is down. A driver that was loaded with `nowayout` goes on all the same.
    ///
    /// # Errors
    /// When the driver refuses: the machine will be reset.
    pub fn disarm(mut self) -> Result<(), WatchdogError> {
        self.device.write(MAGIC_CLOSE).map_err(|source| driver(&self.path, "be stopped", source))
    }
}

fn driver(path: &Path, action: &'static str, source: io::Error) -> WatchdogError {
    WatchdogError::Driver { path: path.to_owned(), action, source }
}

/// The kernel's device.
#[derive(Debug)]
pub struct Kernel {
    file: File,
}

impl Kernel {
    fn open(path: &Path) -> Result<Self, WatchdogError> {
        let failed = |source: io::Error| WatchdogError::Open { path: path.to_owned(), hint: hint(&source), source };
        // Before it is opened: a pipe of that name would hang, and a disk be written on.
        if !std::fs::metadata(path).map_err(failed)?.file_type().is_char_device() {
            return Err(WatchdogError::NotAWatchdog(path.to_owned()));
        }
        let file = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
        Ok(Self { file })
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOENT) => "; load the driver of this machine's watchdog, or softdog",
        Some(libc::EBUSY) => "; another program feeds it: systemd (RuntimeWatchdogSec), watchdog or watchdogd",
        Some(libc::EACCES | libc::EPERM) => "; only root may",
        Some(_) | None => "",
    }
}

/// The calls of `linux/watchdog.h`.
mod call {
    use super::Info;

    nix::ioctl_read!(get_support, b'W', 0, Info);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, libc::c_int);
    nix::ioctl_read!(get_timeout, b'W', 7, libc::c_int);
}

impl Device for Kernel {
    #[expect(unsafe_code, reason = "an ioctl has no safe wrapper")]
    fn info(&self) -> io::Result<Info> {
        let mut info = Info::default();
        // SAFETY: the kernel fills in a struct of this layout, which lives as long as the call; any bytes are valid for it.
        unsafe { call::get_support(self.file.as_raw_fd(), &raw mut info) }?;
        Ok(info)
    }

    #[expect(unsafe_code, reason = "an ioctl has no safe wrapper")]
    fn set_timeout(&self, seconds: i32) -> io::Result<()> {
        let mut seconds: libc::c_int = seconds;
        // SAFETY: the kernel reads and writes one int, which lives as long as the call.
        unsafe { call::set_timeout(self.file.as_raw_fd(), &raw mut seconds) }?;
        Ok(())
    }

    #[expect(unsafe_code, reason = "an ioctl has no safe wrapper")]
    fn timeout(&self) -> io::Result<i32> {
        let mut seconds: libc::c_int = 0;
        // SAFETY: the kernel writes one int, which lives as long as the call.
        unsafe { call::get_timeout(self.file.as_raw_fd(), &raw mut seconds) }?;
        Ok(seconds)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests;
