//! A real browser without a window, and what tests do with it.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

/// Long enough for anything that is expected to happen.
const SOON: Duration = Duration::from_secs(10);

/// A browser without a window, and whoever steers it.
pub(crate) struct Browser {
    driver: Child,
    pub(crate) client: Client,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One that likes dark pages.
    pub(crate) async fn in_the_dark() -> Self {
        Self::with(&["--blink-settings=preferredColorScheme=0"]).await
    }

    async fn with(more: &[&str]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .expect("the browser answers")
            .local_addr()
            .expect("the browser answers")
            .port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let driver = driver.expect("chromedriver cannot be started: install chromium and chromium-driver");
        let profile = tempfile::tempdir().expect("the browser answers");
        let mut arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-sync",
            "--disable-background-networking",
            "--disable-component-update",
            "--window-size=1000,1400",
            // Each node has made its own.
            "--ignore-certificate-errors",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let wanted = json!({ "goog:chromeOptions": { "args": arguments } });
        let end = Instant::now() + 3 * SOON;
        let client = loop {
            let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            builder.capabilities(wanted.as_object().expect("the browser answers").clone());
            match builder.connect(&format!("http://127.0.0.1:{port}")).await {
                Ok(client) => break client,
                // It takes a moment until it listens.
                Err(error) => assert!(Instant::now() < end, "no browser: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        Self { driver, client, _profile: profile }
    }

    /// What is in the element, as soon as it is there: the page may put another one into its place at any moment.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let end = Instant::now() + SOON;
        loop {
            let text = match self.client.find(Locator::Css(selector)).await {
                Ok(element) => element.text().await,
                Err(error) => Err(error),
            };
            match text {
                Ok(text) => return text,
                Err(error) => assert!(Instant::now() < end, "{selector}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn wait(&self, selector: &str, words: &str) {
        let end = Instant::now() + SOON;
        while !self.text(selector).await.contains(words) {
            assert!(Instant::now() < end, "{words:?} is not in {selector}: {}", self.text(selector).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn wait_title(&self, words: &str) {
        let end = Instant::now() + SOON;
        while self.client.title().await.expect("the browser answers") != words {
            assert!(
                Instant::now() < end,
                "{words:?} is not the title: {}",
                self.client.title().await.expect("the browser answers")
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the browser complains of: a file that is missing, a script that fails, a policy that forbids something.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let said = self
            .client
            .execute("return window.complaints ?? [\"not asked\"]", Vec::new())
            .await
            .expect("the browser answers");
        serde_json::from_value(said).expect("the browser answers")
    }
}

impl Browser {
    pub(crate) async fn find(&self, selector: &str) -> fantoccini::elements::Element {
        self.client.find(Locator::Css(selector)).await.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// As soon as it is there and can be clicked: a busy machine is slow to draw.
    pub(crate) async fn click(&self, selector: &str) {
        let end = Instant::now() + SOON;
        loop {
            let clicked = match self.client.find(Locator::Css(selector)).await {
                Ok(element) => element.click().await,
                Err(error) => Err(error),
            };
            match clicked {
                Ok(()) => return,
                Err(error) => assert!(Instant::now() < end, "{selector}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the browser complains of from now on.
    pub(crate) async fn mind(&self) {
        let script = "window.complaints = []; \
            addEventListener('error', (event) => complaints.push(event.message)); \
            addEventListener('unhandledrejection', (event) => complaints.push(String(event.reason))); \
            addEventListener('securitypolicyviolation', (event) => complaints.push(event.violatedDirective));";
        self.client.execute(script, Vec::new()).await.expect("the browser answers");
    }

    pub(crate) async fn log_in(&self, name: &str, password: &str) {
        for (field, text) in [("name", name), ("password", password)] {
            let field = self.find(&format!("#login [name={field}]")).await;
            field.clear().await.expect("the browser answers");
            field.send_keys(text).await.expect("the browser answers");
        }
        self.click("#login button").await;
    }

    /// Presses keys where the keyboard is, and says where it is then: the text of the button, or the id of the element.
    pub(crate) async fn press(&self, keys: &str) -> String {
        self.client.active_element().await.expect("a place").send_keys(keys).await.expect("the browser answers");
        let place = "const it = document.activeElement; return it.nodeName === 'BUTTON' ? it.textContent : it.id || it.nodeName";
        let place = self.client.execute(place, Vec::new()).await.expect("the browser answers");
        place.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn wait_gone(&self, selector: &str) {
        let end = Instant::now() + SOON;
        while self.count(selector).await > 0 {
            assert!(Instant::now() < end, "{selector} is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Keeps what is seen now as `target/tmp/screenshots/NAME.png`.
    pub(crate) async fn shoot(&self, name: &str) {
        let directory =
            option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from).join("screenshots");
        fs::create_dir_all(&directory).expect("a directory for screenshots");
        let picture = self.client.screenshot().await.expect("a screenshot");
        fs::write(directory.join(name).with_extension("png"), picture).expect("the screenshot is kept");
    }

    /// How many there are of something.
    pub(crate) async fn count(&self, selector: &str) -> usize {
        self.client.find_all(Locator::Css(selector)).await.expect("the browser answers").len()
    }
}

impl Drop for Browser {
    /// The browser ends with its driver.
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.driver.id()).expect("the browser answers"));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.driver.wait();
    }
}
