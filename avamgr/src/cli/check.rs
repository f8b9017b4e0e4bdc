//! `avamgr check`: the file, what follows from it, and this host.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use avamgr_core::config::Config;
use serde::Serialize;

use crate::cli::CliError;
use crate::cli::args::CheckArgs;
use crate::cli::output::{Columns, Styled, plural};
use crate::cli::seams::{self, Loaded, Rule, Timer};
use crate::cli::session::Session;
use crate::exit::Exit;
use crate::preflight::{Facts, Finding, Level, judge, tipc_setup};

/// `check --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a Path,
    cluster: &'a str,
    safety_class: String,
    digest: String,
    timers: Vec<Timer>,
    rules: Vec<Rule>,
    host: Vec<Finding>,
}

pub(super) fn run(session: &Session, args: &CheckArgs) -> Result<Exit, CliError> {
    let file = args.file.clone().unwrap_or_else(|| session.global.config_file());
    let loaded = seams::load(&file, session.json())?;
    let config = &loaded.config;
    let report = Report {
        file: &file,
        cluster: &config.cluster,
        safety_class: config.safety_class().to_string(),
        digest: format!("{:016x}", config.digest),
        timers: seams::timers(config),
        rules: seams::rules(config),
        host: if args.no_host { Vec::new() } else { host(session, args, config) },
    };
    if session.json() {
        session.print_json(&report)?;
    } else {
        session.print(&text(&report, &loaded))?;
    }
    // Whoever sets TIPC up at boot has succeeded when TIPC is set up.
    let matters = |finding: &&Finding| !args.set_up_tipc || is_about_tipc(config, finding);
    let errors = report.host.iter().filter(matters).any(|finding| finding.level == Level::Error);
    Ok(if errors { Exit::Failed } else { Exit::Done })
}

fn host(session: &Session, args: &CheckArgs, config: &Config) -> Vec<Finding> {
    let me = match session.node(config, args.node.as_deref()) {
        Ok(me) => me,
        Err(error) => {
            let hint = Some("on another machine, --no-host checks the file alone".to_owned());
            return vec![Finding {
                level: Level::Error,
                subject: "this host".to_owned(),
                text: error.to_string(),
                hint,
            }];
        }
    };
    // A daemon that runs knows more; one that does not is no error of the check.
    let status = session.status().ok();
    let mut facts = Facts::gather(config, me, status.as_ref());
    let mut findings = Vec::new();
    if args.set_up_tipc {
        findings = tipc_setup(config, me, &facts).iter().map(|command| carry_out(command)).collect();
        facts = Facts::gather(config, me, status.as_ref());
    }
    findings.extend(judge(config, me, &facts));
    findings
}

/// The link over TIPC, or a command that sets it up.
fn is_about_tipc(config: &Config, finding: &Finding) -> bool {
    let link = config.links.iter().find(|link| link.tipc().is_some());
    let commands = ["modprobe ", "tipc ", "ip link "];
    link.is_some_and(|link| finding.subject == format!("link {}", link.name))
        || commands.iter().any(|command| finding.subject.starts_with(command))
}

/// Runs one command of ours: words without quotes.
fn carry_out(command: &str) -> Finding {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    let why = match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    };
    let (level, text) = match why {
        None => (Level::Ok, "done".to_owned()),
        Some(why) => (Level::Error, format!("failed: {why}")),
    };
    let hint = (level == Level::Error)
        .then(|| "run it by hand as root; `tipc` and `ip` are in the package iproute2".to_owned());
    Finding { level, subject: command.to_owned(), text, hint }
}

fn text(report: &Report<'_>, loaded: &Loaded) -> String {
    let config = &loaded.config;
    let mut text = format!(
        "{}: {}, cluster {}, {}, {}, safety class {}, digest {}\n",
        report.file.display(),
        Styled::good("valid"),
        report.cluster,
        plural(config.nodes.len(), "node"),
        plural(config.groups.len(), "group"),
        report.safety_class,
        report.digest
    );
    if !loaded.warnings.is_empty() {
        let _ = writeln!(text, "\n{}", loaded.warnings);
    }
    let mut timers = Columns::default();
    for timer in &report.timers {
        timers.row([timer.name.clone().into(), timer.value.clone().into(), Styled::faint(&timer.origin)]);
    }
    section(&mut text, "timers", &timers);
    text.push_str(&rules(&report.rules));
    text.push_str(&findings(&report.host));
    text.push_str(&sum(report, loaded));
    text
}

fn section(text: &mut String, title: &str, columns: &Columns) {
    let lines = columns.lines(2);
    if !lines.is_empty() {
        let _ = write!(text, "\n{}\n{lines}", Styled::strong(title));
    }
}

fn rules(rules: &[Rule]) -> String {
    let mut columns = Columns::default();
    for rule in rules {
        let verdict = match (rule.holds, rule.required) {
            (true, _) => Styled::good("holds"),
            (false, true) => Styled::bad("BROKEN"),
            (false, false) => Styled::notable("advice"),
        };
        columns.row([verdict, rule.name.clone().into(), rule.text.clone().into()]);
    }
    let remarks = rules.iter().map(|rule| (!rule.holds).then_some(rule.why.as_str()));
    remarked("rules between them", &columns, remarks)
}

/// Lines of a section, each with its remark below it.
fn remarked<'a>(title: &str, columns: &Columns, remarks: impl Iterator<Item = Option<&'a str>>) -> String {
    let lines = columns.lines(2);
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", Styled::strong(title));
    for (line, remark) in lines.lines().zip(remarks) {
        let _ = writeln!(text, "{line}");
        if let Some(remark) = remark {
            let _ = writeln!(text, "           {}", Styled::faint(format!("-> {remark}")));
        }
    }
    text
}

fn findings(findings: &[Finding]) -> String {
    let mut columns = Columns::default();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => Styled::good("ok"),
            Level::Warning => Styled::notable("warning"),
            Level::Error => Styled::bad("ERROR"),
        };
        columns.row([level, finding.subject.clone().into(), finding.text.clone().into()]);
    }
    let remarks = findings.iter().map(|finding| finding.hint.as_deref());
    remarked("this host", &columns, remarks)
}

/// Everything above that wants attention, of the file and of this host.
fn sum(report: &Report<'_>, loaded: &Loaded) -> String {
    if report.host.is_empty() && loaded.warning_count == 0 {
        return String::new();
    }
    let count = |level| report.host.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning) + loaded.warning_count);
    format!("\n{}, {}\n", plural(errors, "error"), plural(warnings, "warning"))
}
