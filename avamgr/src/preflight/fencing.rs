//! What turning nodes off needs on this host: agents that can be run, secrets that nobody else can read, and a watchdog where
//! one is configured. Nothing is asked of the devices themselves: that is `avamgr fence test`.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use avamgr_core::config::Config;

use super::facts::key_file;
use super::judge::judge_private_file;
use super::{Facts, Finding, KeyFile};

/// The secrets of all devices, each file once.
pub(super) fn secrets(config: &Config) -> Vec<(PathBuf, KeyFile)> {
    let mut paths: Vec<&PathBuf> = config.fences.iter().filter_map(|fence| fence.secrets.as_ref()).collect();
    paths.sort();
    paths.dedup();
    paths.into_iter().map(|path| (path.clone(), key_file(path))).collect()
}

/// Whether the watchdog's device is there. It is not opened: that would start it.
pub(super) fn watchdog(config: &Config) -> Option<Result<(), String>> {
    let path = &config.watchdog.as_ref()?.device;
    Some(match fs::metadata(path) {
        Ok(found) if found.file_type().is_char_device() => Ok(()),
        Ok(_) => Err("is not a device".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

/// Every finding about them.
pub(super) fn judge(config: &Config, facts: &Facts) -> Vec<Finding> {
    let secret = |(path, found): &(PathBuf, KeyFile)| {
        let hint = "write it, mode 0600, one name=value in a line, on every node";
        judge_private_file("secrets file", path, found, facts.uid, hint, "change the passwords in it")
    };
    let mut findings: Vec<Finding> = facts.fence_secrets.iter().map(secret).collect();
    if let (Some(watchdog), Some(found)) = (&config.watchdog, &facts.watchdog) {
        findings.push(judge_watchdog(&watchdog.device, found));
    }
    findings
}

fn judge_watchdog(device: &Path, found: &Result<(), String>) -> Finding {
    let subject = format!("watchdog {}", device.display());
    match found {
        Ok(()) => Finding::ok(subject, "is there"),
        Err(why) => Finding::error(
            subject,
            why.clone(),
            "load the driver of this machine's watchdog, or softdog, at every boot",
        ),
    }
}
