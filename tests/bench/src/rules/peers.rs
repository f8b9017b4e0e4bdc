//! incron with rsync, and lsyncd: both push from `a` to an rsync daemon on `b`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use avamgr_lab::{Process, wait_until};

use crate::system::{ADDRESSES, Site, System, version_of, write_private};

const RSYNC: &str = "/usr/bin/rsync";
const INCROND: &str = "/usr/sbin/incrond";
const LSYNCD: &str = "/usr/bin/lsyncd";

/// Who may push, and with what word. Nobody but the two nodes of a lab can hear it.
const USER: &str = "sync";
const SECRET: &str = "only-of-this-lab";

/// The place of a daemon's module.
const MODULE: &str = "rules";

/// incron starts a full rsync for each event, all at once; a thousand changes are two thousand of them.
const INCRON_MOST: usize = 1000;

/// incrond and an rsync of the whole tree for each event.
#[derive(Debug)]
pub(crate) struct Incron {
    version: String,
}

impl Incron {
    /// The one of this machine.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self { version: version_of(Path::new(INCROND), "--version")? })
    }
}

impl System for Incron {
    fn name(&self) -> &'static str {
        "incron"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn most_changes(&self) -> usize {
        INCRON_MOST
    }

    fn start(&self, site: &Site) -> Result<[Process; 2]> {
        let receiver = start_rsyncd(site)?;
        let (conf, tables, locks) =
            (site.private(0, "incron.conf"), site.private(0, "incron.d"), site.private(0, "incron.lock"));
        for dir in [&tables, &locks] {
            fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        }
        let conf_text = format!(
            "system_table_dir = {tables}\nuser_table_dir = {locks}\nlockfile_dir = {locks}\nlockfile_name = incrond\n",
            tables = tables.display(),
            locks = locks.display()
        );
        fs::write(&conf, conf_text).context("write the config of incrond")?;
        let (rules, password) = (site.rules[0].display(), write_password(site)?);
        let table = format!(
            "{rules} IN_CLOSE_WRITE,IN_CREATE,IN_DELETE,IN_MOVE {RSYNC} -a --delete --password-file={password} \
             {rules}/ {}\n",
            target()
        );
        fs::write(tables.join("rules"), table).context("write the table of incrond")?;
        let daemon = site.hosts[0].command(INCROND).arg("-n").arg("-f").arg(&conf).spawn()?;
        Ok([daemon, receiver])
    }
}

/// lsyncd without its delay.
#[derive(Debug)]
pub(crate) struct Lsyncd {
    version: String,
}

impl Lsyncd {
    /// The one of this machine.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self { version: version_of(Path::new(LSYNCD), "--version")? })
    }
}

impl System for Lsyncd {
    fn name(&self) -> &'static str {
        "lsyncd"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn start(&self, site: &Site) -> Result<[Process; 2]> {
        let receiver = start_rsyncd(site)?;
        let conf = site.private(0, "lsyncd.lua");
        let text = format!(
            "settings {{ nodaemon = true, insist = true }}\nsync {{\n default.rsync,\n source = \"{source}\",\n target \
             = \"{target}\",\n delay = 0,\n rsync = {{ archive = true, password_file = \"{password}\" }},\n}}\n",
            source = site.rules[0].display(),
            target = target(),
            password = write_password(site)?,
        );
        fs::write(&conf, text).context("write the config of lsyncd")?;
        let daemon = site.hosts[0].command(LSYNCD).arg("-nodaemon").arg(&conf).spawn()?;
        Ok([daemon, receiver])
    }
}

fn target() -> String {
    format!("rsync://{USER}@{}/{MODULE}/", ADDRESSES[1])
}

fn write_password(site: &Site) -> Result<String> {
    let path = site.private(0, "rsync.password");
    write_private(&path, &format!("{SECRET}\n"))?;
    Ok(path.display().to_string())
}

/// The daemon that takes in what is pushed, on `b`.
fn start_rsyncd(site: &Site) -> Result<Process> {
    let (conf, secrets) = (site.private(1, "rsyncd.conf"), site.private(1, "rsyncd.secrets"));
    let log = site.private(1, "rsyncd.log");
    write_private(&secrets, &format!("{USER}:{SECRET}\n"))?;
    let text = format!(
        "use chroot = no\nmunge symlinks = no\nreverse lookup = no\nuid = root\ngid = root\nlog file = {log}\nlock file = {lock}\n[{MODULE}]\npath = \
         {path}\nread only = no\nauth users = {USER}\nsecrets file = {secrets}\n",
        log = log.display(),
        lock = site.private(1, "rsyncd.lock").display(),
        path = site.rules[1].display(),
        secrets = secrets.display(),
    );
    fs::write(&conf, text).context("write the config of the rsync daemon")?;
    let mut daemon = site.hosts[1].command(RSYNC);
    let daemon =
        daemon.args(["--daemon", "--no-detach", "--address", ADDRESSES[1]]).arg("--config").arg(&conf).spawn()?;
    let up = wait_until(std::time::Duration::from_secs(10), "the rsync daemon of b", || {
        // Its log has a line as soon as it listens.
        fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on port"))
    });
    up.with_context(|| daemon.log())?;
    Ok(daemon)
}
