//! What agents do, and what is made of it: never "off" without a proof.

use std::fs;
use std::time::Duration;

use avamgr_core::cluster::NodeId;
use tokio::time::{Instant, sleep};

use crate::site::{GOOD, SLACK, Site, TARGET, eventually};

/// Whether a process of this number, read from a file, is alive.
fn lives(site: &Site, file: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", site.read(file).trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn a_good_agent_turns_the_node_off_and_the_device_confirms_it() {
    let site = Site::new();
    site.agent("agent", GOOD);
    let options = "options = { plug = \"7\", ip = \"10.0.0.2\", username = \"a=b c\" }";
    let said = site.fence_with(&[site.device("agent", options)]).await.unwrap();
    let expected = "agent ip=10.0.0.2 plug=7 turned it off, its status confirms it (level 1, ";
    assert!(said.starts_with(expected) && said.ends_with("ms)"), "{said}");
    assert_eq!(site.read("power"), "off\n");
    let options = "ip=10.0.0.2\nplug=7\nusername=a=b c\n";
    assert_eq!(site.read("orders"), format!("action=off\n{options}action=status\n{options}"));
}

#[tokio::test]
async fn an_agent_is_told_nothing_of_the_daemons_environment_but_the_path() {
    let site = Site::new();
    site.fence(&format!("env > environment\n{GOOD}")).await.unwrap();
    let environment = site.read("environment");
    // The shell sets these by itself.
    let strange = |line: &&str| !["PATH=", "PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|name| line.starts_with(name));
    assert_eq!(environment.lines().filter(strange).collect::<Vec<_>>(), [""; 0]);
    assert!(environment.contains("PATH="), "{environment}");
}

#[tokio::test]
async fn an_agent_that_lies_is_found_out() {
    let site = Site::new();
    let said = site.fence(&GOOD.replace("off | on) echo", "off | on) : echo")).await.unwrap_err();
    assert_eq!(said, "level 1: agent off succeeded, but its status says that the node is on");
}

#[tokio::test]
async fn a_device_that_needs_a_moment_is_asked_again() {
    let site = Site::new();
    let slow = GOOD.replace("status)", "status) echo >> asked; [ $(wc -l < asked) -gt 2 ] || exit 0;");
    let said = site.fence(&slow).await.unwrap();
    assert!(said.contains("its status confirms it"), "{said}");
    assert_eq!(site.read("asked").len(), 3);
}

#[tokio::test]
async fn an_agent_that_hangs_is_killed_with_all_it_has_started_and_has_failed() {
    let site = Site::new();
    let begun = Instant::now();
    let said = site.fence("sleep 1000 & echo $! > child\necho connecting\nsleep 1000").await.unwrap_err();
    assert_eq!(said, "level 1: agent off did not end within 1 s and was killed; last output: \"connecting\"");
    assert!(begun.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", begun.elapsed());
    eventually(|| !lives(&site, "child")).await;
}

#[tokio::test]
async fn an_agent_that_will_not_die_by_term_is_killed() {
    let site = Site::new();
    let begun = Instant::now();
    let said = site.fence("trap '' TERM\necho $$ > me\nwhile :; do sleep 0.1; done").await.unwrap_err();
    assert!(said.contains("did not end within 1 s"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", begun.elapsed());
    eventually(|| !lives(&site, "me")).await;
}

#[tokio::test]
async fn an_agent_whose_status_hangs_has_not_proved_anything() {
    let site = Site::new();
    let begun = Instant::now();
    let said = site.fence(&GOOD.replace("status)", "status) sleep 1000;")).await.unwrap_err();
    assert_eq!(said, "level 1: agent status did not end within 1 s and was killed");
    assert!(begun.elapsed() < Duration::from_secs(2) + SLACK, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_child_that_keeps_the_output_open_keeps_nobody_waiting_and_does_not_live_on() {
    let site = Site::new();
    let begun = Instant::now();
    let said = site.fence(&GOOD.replace("off | on)", "off | on) sleep 1000 & echo $! > child;")).await.unwrap();
    assert!(said.contains("its status confirms it"), "{said}");
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    eventually(|| !lives(&site, "child")).await;
}

#[tokio::test]
async fn an_agent_that_prints_megabytes_is_read_to_its_end_and_its_last_lines_are_kept() {
    let site = Site::new();
    let flood =
        "head -c 20000000 /dev/zero | tr '\\0' x; i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done";
    let said = site.fence(&format!("{flood}\necho no route to host >&2\nexit 1")).await.unwrap_err();
    assert!(said.starts_with("level 1: agent off exited with status 1; last output: \""), "{said}");
    assert!(said.ends_with("line 4999 / no route to host\""), "{said}");
    assert!(said.len() < 2_000, "{} bytes", said.len());
}

#[tokio::test]
async fn an_agent_that_reads_nothing_is_not_waited_for() {
    let site = Site::new();
    let big = format!("options = {{ blob = \"{}\" }}", "x".repeat(300_000));
    site.agent("agent", "exit 3");
    let said = site.fence_with(&[site.device("agent", &big)]).await.unwrap_err();
    assert_eq!(said, "level 1: agent off exited with status 3");
}

#[tokio::test]
async fn what_cannot_be_run_says_so() {
    let site = Site::new();
    site.write("file", "#!/bin/sh\n", 0o644);
    site.write("interpreter", "#!/nonexistent/sh\n", 0o755);
    fs::create_dir(site.path("directory")).unwrap();
    let said = async |agent: &str| site.fence_with(&[site.device(agent, "")]).await.unwrap_err();
    assert!(said("missing").await.contains("missing cannot be run: No such file"), "{}", said("missing").await);
    assert!(said("file").await.contains("file is not executable for "), "{}", said("file").await);
    assert!(said("directory").await.ends_with("directory is not a file"), "{}", said("directory").await);
    assert!(said("interpreter").await.contains("its first line (#!)"), "{}", said("interpreter").await);
}

#[tokio::test]
async fn an_agent_that_dies_by_a_signal_has_failed() {
    let site = Site::new();
    let said = site.fence("kill -SEGV $$").await.unwrap_err();
    assert!(said.starts_with("level 1: agent off was killed by signal 11 (SIGSEGV)"), "{said}");
    let said = site.fence(&GOOD.replace("status)", "status) kill -KILL $$;")).await.unwrap_err();
    assert!(said.starts_with("level 1: agent status was killed by signal 9 (SIGKILL)"), "{said}");
}

/// An agent without `status`, which says so in its description.
fn without_status(metadata: &str) -> String {
    let lines = format!("metadata) cat <<'END'\n{metadata}\nEND\n;;\nstatus) exit 1 ;;\nignored)");
    GOOD.replace("status)", &lines)
}

#[tokio::test]
async fn an_agent_that_has_no_status_is_believed_only_if_it_says_so_itself() {
    let site = Site::new();
    let listed = "<actions>\n<action name=\"on\"/>\n<action name=\"off\"/>\n<action name=\"metadata\"/>\n</actions>";
    let said = site.fence(&without_status(listed)).await.unwrap();
    assert!(
        said.starts_with("agent turned it off by its own word, it has no status to confirm it (level 1, "),
        "{said}"
    );
    let said = site.fence(&without_status(&listed.replace("\"on\"", "\"status\""))).await.unwrap_err();
    assert_eq!(said, "level 1: agent status exited with status 1");
    let said = site.fence(&without_status("")).await.unwrap_err();
    assert_eq!(said, "level 1: agent status exited with status 1");
}

#[tokio::test]
async fn an_agent_gets_its_secrets_and_does_not_give_them_away() {
    let site = Site::new();
    let secrets = site.write("secrets", "# board\npassword=open sesame\nplug=8\n", 0o600);
    let more = format!("secrets = \"{}\"\noptions = {{ plug = \"7\" }}", secrets.display());
    site.agent("agent", GOOD);
    site.fence_with(&[site.device("agent", &more)]).await.unwrap();
    assert!(site.read("orders").starts_with("action=off\npassword=open sesame\nplug=8\n"), "{}", site.read("orders"));
    site.agent("agent", "cat >&2; exit 1");
    let said = site.fence_with(&[site.device("agent", &more)]).await.unwrap_err();
    assert!(said.contains("password=***") && !said.contains("sesame"), "{said}");
}

#[tokio::test]
async fn secrets_that_others_may_read_are_not_used() {
    let site = Site::new();
    let secrets = site.write("secrets", "password=geheim\n", 0o644);
    site.agent("agent", GOOD);
    let more = format!("secrets = \"{}\"", secrets.display());
    let said = site.fence_with(&[site.device("agent", &more)]).await.unwrap_err();
    assert!(said.contains("mode 0644 lets others at it (run: chmod 600 "), "{said}");
    assert_eq!(site.read("orders"), "", "the agent was not called");
}

#[tokio::test]
async fn the_second_level_is_tried_when_the_first_has_failed() {
    let site = Site::new();
    site.agent("bad", "echo no power; exit 1");
    site.agent("good", GOOD);
    let devices = [site.device("good", "level = 2"), site.device("bad", "")];
    let said = site.fence_with(&devices).await.unwrap();
    assert!(said.starts_with("good turned it off, its status confirms it (level 2, "), "{said}");
    assert!(said.ends_with("; level 1: bad off exited with status 1; last output: \"no power\""), "{said}");
    site.agent("good", "exit 4");
    let said = site.fence_with(&devices).await.unwrap_err();
    let expected =
        "level 1: bad off exited with status 1; last output: \"no power\"; level 2: good off exited with status 4";
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_level_needs_all_its_devices() {
    let site = Site::new();
    site.agent("one", GOOD);
    site.agent("two", "exit 1");
    let devices = [site.device("one", ""), site.device("two", "")];
    assert_eq!(site.fence_with(&devices).await.unwrap_err(), "level 1: two off exited with status 1");
    assert_eq!(site.read("power"), "off\n", "the first one was turned off all the same");
    site.agent("two", GOOD);
    let said = site.fence_with(&devices).await.unwrap();
    assert!(said.contains("one turned it off") && said.contains("; two turned it off"), "{said}");
}

#[tokio::test]
async fn a_reboot_is_a_proof_of_off_and_then_on() {
    let site = Site::new();
    let said = {
        site.agent("agent", GOOD);
        site.fence_with(&[site.device("agent", "action = \"reboot\"")]).await.unwrap()
    };
    assert!(said.contains("its status confirms it"), "{said}");
    eventually(|| site.read("power") == "on\n").await;
    assert_eq!(site.read("orders"), "action=off\naction=status\naction=on\n");
    // One that cannot be turned on again has been fenced all the same.
    let said = site.fence(&GOOD.replace("off | on)", "on) exit 1 ;; off)")).await;
    assert!(said.is_ok(), "{said:?}");
}

#[tokio::test]
async fn who_asks_while_it_is_under_way_gets_the_same_answer() {
    let site = Site::new();
    site.agent("agent", &format!("sleep 0.3\n{GOOD}"));
    let fencer = std::sync::Arc::new(site.fencer(&[site.device("agent", "")]));
    let both = tokio::join!(fencer.fence(TARGET), fencer.fence(TARGET));
    assert!(both.0.is_ok() && both.0 == both.1, "{both:?}");
    assert_eq!(site.read("orders"), "action=off\naction=status\n");
    fencer.fence(TARGET).await.unwrap();
    assert_eq!(site.read("orders").matches("action=off").count(), 2, "a later one is one of its own");
}

#[tokio::test]
async fn a_run_goes_on_when_nobody_waits_for_it() {
    let site = Site::new();
    site.agent("agent", &format!("touch begun\nsleep 0.2\n{GOOD}"));
    let fencer = site.fencer(&[site.device("agent", "")]);
    tokio::select! {
        said = fencer.fence(TARGET) => panic!("{said:?}"),
        () = async { while !site.path("begun").exists() { sleep(Duration::from_millis(5)).await } } => {}
    }
    eventually(|| site.read("orders").contains("status")).await;
    assert_eq!(site.read("power"), "off\n");
}

#[tokio::test]
async fn a_node_without_a_device_cannot_be_turned_off() {
    let site = Site::new();
    let fencer = site.fencer(&["agent = \"/bin/false\"".to_owned()]);
    let said = fencer.fence(NodeId(7)).await.unwrap_err().to_string();
    assert!(said.contains("no [[fence]] device"), "{said}");
}
