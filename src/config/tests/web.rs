//! `[web]`: what it means, and that it is each node's own matter.

use super::{PAIR, bad, changed, good};

#[test]
fn an_empty_table_has_the_defaults_of_the_manual() {
    assert_eq!(good(PAIR).web, None, "without the table there is no page");
    let web = good(&changed("", "[web]")).web.unwrap();
    assert_eq!((web.listen.to_string().as_str(), web.user.as_str()), ("127.0.0.1:8080", "nobody"));
    assert!(web.names.is_empty());
}

#[test]
fn every_key_of_the_page_arrives() {
    let lines = "[web]\nlisten = \"[::1]:81\"\nuser = \"web\"\nnames = [\"dre.example\", \"dre\"]";
    let web = good(&changed("", lines)).web.unwrap();
    assert_eq!((web.listen.to_string().as_str(), web.user.as_str()), ("[::1]:81", "web"));
    assert_eq!(web.names, ["dre.example", "dre"]);
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
