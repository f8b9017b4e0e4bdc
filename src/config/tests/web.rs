//! `[web]`: what it means, and that it is each node's own matter.

use std::path::Path;

use super::{PAIR, bad, changed, good};

#[test]
fn an_empty_table_has_the_defaults_of_the_manual() {
    assert_eq!(good(PAIR).web, None, "without the table there is no page");
    let web = good(&changed("", "[web]")).web.unwrap();
    assert_eq!((web.listen.to_string().as_str(), web.user.as_str()), ("127.0.0.1:8080", "nobody"));
    assert!(web.names.is_empty());
    assert_eq!((web.users.as_deref(), web.certificate.as_deref(), web.relay()), (None, None, None));
}

#[test]
fn every_key_of_the_page_arrives() {
    let lines = "[web]\nlisten = \"[::1]:81\"\nuser = \"web\"\nnames = [\"dre.example\", \"dre\"]\n\
                 users = \"/etc/users\"\nidle_time = \"5m\"\ntls = true\ncertificate = \"/etc/web.pem\"";
    let web = good(&changed("", lines)).web.unwrap();
    assert_eq!(web.users.as_deref(), Some(Path::new("/etc/users")));
    assert_eq!(web.certificate.as_deref(), Some(Path::new("/etc/web.pem")));
    assert_eq!((web.idle_time.as_secs(), web.relay()), (300, Some("web")));
    assert_eq!((web.listen.to_string().as_str(), web.user.as_str()), ("[::1]:81", "web"));
    assert_eq!(web.names, ["dre.example", "dre"]);
}

#[test]
fn a_page_that_a_unit_starts_is_told_nothing_by_the_daemon() {
    let lines = "[web]\nstart = false\nuser = \"web\"\nusers = \"/etc/users\"\n";
    let web = good(&changed("", lines)).web.unwrap();
    assert_eq!((web.start, web.relay()), (false, Some("web")));
    assert!(good(&changed("", "[web]")).web.unwrap().start);
    for line in
        ["listen = \"127.0.0.1:81\"", "names = \"dre\"", "idle_time = \"5m\"", "tls = true", "certificate = \"/x\""]
    {
        let errors = bad(&changed("", &format!("{lines}{line}"))).to_string();
        assert!(errors.contains("start = false") && errors.contains("in the unit"), "{line}: {errors}");
    }
}

#[test]
fn nodes_agree_whatever_page_each_of_them_has() {
    let digest = |lines: &str| good(&changed("", lines)).digest;
    assert_eq!(digest("[web]"), good(PAIR).digest);
    assert_eq!(digest("[web]\nlisten = \"127.0.0.1:81\""), good(PAIR).digest);
}

#[test]
fn a_page_for_everybody_is_refused_as_long_as_nobody_is_asked_who_he_is() {
    for address in ["0.0.0.0:8080", "172.16.8.50:8080", "[::]:8080"] {
        let errors = bad(&changed("", &format!("[web]\nlisten = \"{address}\""))).to_string();
        assert!(errors.contains("web.listen") && errors.contains("loopback"), "{errors}");
    }
}

#[test]
fn with_users_the_page_may_be_anywhere_and_is_encrypted_unless_somebody_wants_it_otherwise() {
    let web = |more: &str| {
        let lines = "[web]\nlisten = \"0.0.0.0:8443\"\nuser = \"web\"\nusers = \"/etc/users\"\n";
        good(&changed("", &format!("{lines}{more}"))).web.unwrap()
    };
    assert_eq!(web("").certificate.as_deref(), Some(Path::new("/etc/avamgr/web.pem")));
    assert_eq!(web("tls = false").certificate, None);
}

#[test]
fn who_steers_in_the_name_of_users_is_no_account_that_others_use() {
    let errors = bad(&changed("", "[web]\nusers = \"/etc/users\"")).to_string();
    assert!(errors.contains("web.user") && errors.contains("account of its own"), "{errors}");
}
