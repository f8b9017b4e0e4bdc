//! The command line against the real program: what it writes, what it refuses and what it says then.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

struct Site {
    directory: tempfile::TempDir,
}

const NODES: &str = "[cluster]\nname = \"c\"\nnodes = [\"a\", \"b\"]\n\n[[link]]\nname = \"primary\"\ninterface = \"eth1\"\n\
                     address = { a = \"10.1.1.1\", b = \"10.1.1.2\" }\n";

impl Site {
    fn new(config: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if let Some(config) = config {
            fs::write(directory.path().join("c.toml"), config).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> String {
        fs::read_to_string(self.path("c.toml")).unwrap_or_default()
    }

    fn run(&self, args: &[&str], typed: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rules-sync"));
        command.arg("--config").arg(self.path("c.toml")).args(["--node", "a"]).args(args);
        command.env_remove("RE_CONFDIR").env("ERLBF_RE_CONFDIR", self.path("erlbf"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end without reading anything.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        child.wait_with_output().unwrap()
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn init_asks_for_the_directories_and_adds_them_to_the_config() {
    let site = Site::new(Some(NODES));
    let done = site.run(&["init"], "/opt/re\n\n/srv/maps\n\n\nyes\n");
    assert!(done.status.success(), "{}{}", out(&done), err(&done));
    let config = site.config();
    assert!(config.starts_with(NODES), "what was there stays");
    let table = r#"directories = { re = "/opt/re", erlbf = "$ERLBF_RE_CONFDIR", maps = "/srv/maps" }"#;
    assert!(config.contains(table), "{config}");
    assert!(out(&done).contains("ERLBF_RE_CONFDIR (is "), "{}", out(&done));
    let again = site.run(&["init"], "");
    assert!(!again.status.success() && err(&again).contains("has a table [rules] already"), "{}", err(&again));
}

#[test]
fn init_makes_a_config_where_there_is_none() {
    let site = Site::new(None);
    let done = site.run(&["init", "--directory", "re=/opt/re"], "c\na\n10.1.1.1\nb\n10.1.1.2\neth1\nyes\n");
    assert!(done.status.success(), "{}{}", out(&done), err(&done));
    assert!(site.config().contains("nodes = [\"a\", \"b\"]") && site.config().contains("[rules]"), "{}", site.config());
}

#[test]
fn init_writes_nothing_that_is_invalid_or_not_agreed_to() {
    let site = Site::new(Some(NODES));
    let invalid = site.run(&["init", "--yes", "--directory", "re=opt/re"], "");
    assert!(!invalid.status.success() && err(&invalid).contains("nothing is written"), "{}", err(&invalid));
    let refused = site.run(&["init", "--directory", "/opt/re"], "no\n");
    assert!(!refused.status.success(), "{}", out(&refused));
    let silent = site.run(&["init"], "");
    assert!(err(&silent).contains("nobody answers"), "{}", err(&silent));
    assert_eq!(site.config(), NODES);
}

#[test]
fn check_names_what_is_missing_before_it_hurts() {
    let site = Site::new(None);
    let rules = |text: &str| fs::write(site.path("c.toml"), format!("{NODES}\n[rules]\n{text}\n")).unwrap();
    rules("directories = { re = \"$RE_CONFDIR\" }");
    let unset = site.run(&["check"], "");
    assert!(!unset.status.success() && err(&unset).contains("variable RE_CONFDIR is not set"), "{}", err(&unset));
    rules("directories = { erlbf = \"$ERLBF_RE_CONFDIR\" }");
    let missing = site.run(&["check"], "");
    assert!(!missing.status.success(), "{}", out(&missing));
    fs::create_dir(site.path("erlbf")).unwrap();
    let good = site.run(&["check"], "");
    assert!(
        good.status.success() && out(&good).contains("node b: 10.1.1.1 to 10.1.1.2:6942"),
        "{}{}",
        out(&good),
        err(&good)
    );
    rules(&format!("directories = {{ erlbf = \"$ERLBF_RE_CONFDIR\", one = {:?} }}", site.path("erlbf")));
    let twice = site.run(&["check"], "");
    assert!(!twice.status.success() && err(&twice).contains("lie in each other"), "{}", err(&twice));
    rules("directorys = { re = \"/opt/re\" }");
    let invalid = site.run(&["check"], "");
    assert_eq!(invalid.status.code(), Some(5), "{}", err(&invalid));
    assert!(err(&invalid).contains("did you mean `directories`?"), "{}", err(&invalid));
}

#[test]
fn a_courier_that_does_not_run_cannot_be_asked_and_that_is_said() {
    let site = Site::new(Some(NODES));
    let socket = site.path("none.sock");
    let asked = site.run(&["--socket", socket.to_str().unwrap(), "status"], "");
    assert_eq!(asked.status.code(), Some(4), "{}", err(&asked));
    assert!(err(&asked).contains("is not running (no control socket at"), "{}", err(&asked));
    assert!(err(&asked).contains("`service dre start` starts it"), "{}", err(&asked));
}
