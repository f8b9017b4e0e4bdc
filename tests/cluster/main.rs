//! Clusters of real nodes in a virtual world: stories with their whole course, and many seeds of random faults.
mod shape;
#[test]
fn configs_parse() { println!("{:#?}", shape::Shape{neutral:true,..Default::default()}.config()); println!("{:#?}", shape::Shape{interval_ms:10,neutral:true,..Default::default()}.config().timers); }
