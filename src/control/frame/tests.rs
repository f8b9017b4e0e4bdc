use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::control::{Answer, Command, Filter, Reply, Request, ResourceVerb};

fn any_command() -> impl Strategy<Value = Command> {
    let name = proptest::option::of(".{0,40}");
    prop_oneof![
        (name.clone(), name, any::<bool>()).prop_map(|(group, to, dry_run)| Command::Switchover { group, to, dry_run }),
        proptest::option::of((0..u64::MAX, 0..1_000_000_000_u32))
            .prop_map(|time| Command::Offline { duration: time.map(|(s, n)| Duration::new(s, n)) }),
        Just(Command::Online),
        any::<bool>().prop_map(|on| Command::Maintenance { on }),
        (".{0,40}", any_verb()).prop_map(|(resource, verb)| Command::Resource { resource, verb }),
    ]
}

fn any_verb() -> impl Strategy<Value = ResourceVerb> {
    prop_oneof![
        Just(ResourceVerb::Start),
        Just(ResourceVerb::Stop),
        Just(ResourceVerb::Restart),
        Just(ResourceVerb::Clear)
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Status),
        (any::<usize>(), any::<bool>(), any::<Option<u64>>(), any::<Option<String>>()).prop_map(
            |(last, follow, before, text)| {
                let filter = Filter { text, ..Filter::default() };
                Request::History { last, follow, before, filter }
            }
        ),
        any_command().prop_map(Request::Command),
        Just(Request::Reload),
        Just(Request::Config),
    ]
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let text = "\\PC{0,60}|.{0,20}";
    prop_oneof![
        Just(Reply::EndOfHistory),
        text.prop_map(|reason| Reply::Error { reason }),
        text.prop_map(|reason| Reply::Answer { answer: Answer::Refused { reason } }),
        (proptest::collection::vec(text, 0..4), proptest::collection::vec(text, 0..4))
            .prop_map(|(steps, obstacles)| Reply::Answer { answer: Answer::Plan { steps, obstacles } }),
    ]
}

fn cut(stream: &[u8], sizes: &[usize], max: usize) -> Vec<Result<Vec<u8>, FrameError>> {
    let mut lines = Lines::new(max);
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
        lines.push(&rest[..size]);
        rest = &rest[size..];
    }
    std::iter::from_fn(|| lines.next_line()).collect()
}

proptest! {
    #[test]
    fn a_request_survives_the_line(request in any_request()) {
        let line = encode(&request, MAX_REQUEST_BYTES).unwrap();
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(decode::<Request>(&line).unwrap(), request);
    }

    #[test]
    fn a_reply_survives_the_line(reply in any_reply()) {
        let line = encode(&reply, MAX_REPLY_BYTES).unwrap();
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(decode::<Reply>(&line).unwrap(), reply);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Reply>(&bytes);
    }

    #[test]
    fn lines_do_not_depend_on_the_pieces(
        stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'\r'), any::<u8>()], 0..400),
        sizes in proptest::collection::vec(1_usize..50, 1..8),
    ) {
        prop_assert_eq!(cut(&stream, &sizes, 40), cut(&stream, &[usize::MAX], 40));
    }

    #[test]
    fn what_is_held_is_bounded(pieces in proptest::collection::vec(proptest::collection::vec(Just(b'x'), 0..60), 0..50)) {
        let mut lines = Lines::new(100);
        for piece in pieces {
            lines.push(&piece);
            prop_assert!(lines.partial.len() <= 100);
            prop_assert!(lines.ready.len() <= 1);
        }
    }
}

#[test]
fn a_line_too_long_is_reported_once_and_the_next_one_is_read() {
    let stream = [b"x".repeat(5_000).as_slice(), b"\n{\"request\":\"status\"}\r\n\n"].concat();
    let lines = cut(&stream, &[700], 4_096);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], Err(FrameError::TooLong { max: 4_096 }));
    assert_eq!(decode::<Request>(lines[1].as_ref().unwrap()).unwrap(), Request::Status);
}

#[test]
fn the_line_of_a_command_is_flat_and_stays_as_it_is() {
    let request = Request::Command(Command::Maintenance { on: true });
    let line = encode(&request, MAX_REQUEST_BYTES).unwrap();
    assert_eq!(line, b"{\"request\":\"command\",\"command\":\"maintenance\",\"on\":true}\n");
}

#[test]
fn a_document_beyond_the_limit_is_not_sent() {
    let reply = Reply::Error { reason: "x".repeat(200) };
    assert_eq!(encode(&reply, 100), Err(FrameError::TooLong { max: 100 }));
}
