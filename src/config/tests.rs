use super::*;
#[test]
fn play() {
    let text = std::fs::read_to_string(std::env::var("F").unwrap()).unwrap();
    match parse_with_warnings(&text, "avamgr.toml") {
        Ok((c, w)) => {
            println!("{w}\n");
            for t in describe_timers(&c) {
                println!("{:20} {:>8} {}", t.name, t.value, t.origin());
            }
            for i in inequalities(&c) {
                println!(
                    "{} {}: {i}",
                    if i.holds {
                        "ok "
                    } else if i.required {
                        "BAD"
                    } else {
                        "no "
                    },
                    i.name
                );
            }
            println!("{:x}", c.digest);
        }
        Err(e) => println!("{e}\n{}", serde_json::to_string(&e).unwrap()),
    }
}
