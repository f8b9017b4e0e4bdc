//! What stands in the way of somebody who does not see the page, or has no mouse, as axe-core finds it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::driver::Browser;

/// A package of PyPI that has axe-core in it, for browsers that somebody else steers.
const PACKAGE: &str = "axe-playwright-python==0.1.8";
const FILE: &str = "axe_playwright_python/axe.min.js";

/// Takes one file out of the package, which is an archive.
const UNPACK: &str = "import glob, sys, zipfile\n\
    sys.stdout.buffer.write(zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0]).read(sys.argv[2]))";

impl Browser {
    /// All that is wrong with the page as it is now; a rule and the elements that break it each.
    pub(crate) async fn barriers(&self) -> Vec<String> {
        const LOOK: &str = "const done = arguments[0]; axe.run().then(({ violations }) => done(violations.map((it) => \
            `${it.id}: ${it.help}: ${it.nodes.map((node) => node.target.join(' ')).join(', ')}`)), (error) => done([String(error)]));";
        self.client.execute(source(), Vec::new()).await.expect("axe-core is loaded");
        let found = self.client.execute_async(LOOK, Vec::new()).await.expect("axe-core has an answer");
        serde_json::from_value(found).expect("a list")
    }
}

/// Fetched once on a machine, and kept outside of the project: whoever goes where nothing can be fetched asks before.
pub(crate) fn source() -> &'static str {
    static SOURCE: OnceLock<String> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let kept = cache().join(format!("{PACKAGE}.js"));
        fs::read_to_string(&kept).unwrap_or_else(|_| {
            let fetched = fetch();
            fs::create_dir_all(cache()).expect("a directory for what is fetched");
            // Others may fetch it at the same time.
            let own = kept.with_extension(format!("{}.js", std::process::id()));
            fs::write(&own, &fetched).expect("axe-core is kept");
            fs::rename(own, kept).expect("axe-core is kept");
            fetched
        })
    })
}

fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("avamgr")
}

fn fetch() -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest"];
    let fetched = Command::new("python3").args(pip).arg(directory.path()).arg(PACKAGE).output();
    let fetched = fetched.expect("python3 cannot be started: install python3-pip");
    assert!(fetched.status.success(), "axe-core cannot be fetched: {}", String::from_utf8_lossy(&fetched.stderr));
    let unpacked = Command::new("python3").args(["-c", UNPACK]).arg(directory.path()).arg(FILE).output();
    let unpacked = unpacked.expect("python3 can be started");
    assert!(unpacked.status.success(), "{PACKAGE}: {}", String::from_utf8_lossy(&unpacked.stderr));
    String::from_utf8(unpacked.stdout).expect("a script is text")
}
