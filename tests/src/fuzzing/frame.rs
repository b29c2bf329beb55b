//! Frames as they come from a socket, one behind the other, and their headers in both forms.

use bytes::BytesMut;
use tenonmq_protocol::{
    Command, CommandView, DEFAULT_MAX_FRAME, FrameView, HeaderScratch, Serialization, command::MAX_FIELDS,
};

/// Largest frame in these tests, in bytes.
const MAX_FRAME: usize = 64 << 10;

/// Takes frames off the front until there is none, and the whole input as a header of either form.
pub(super) fn frames(bytes: &[u8]) {
    let mut scratch = HeaderScratch::default();
    let mut rest = bytes;
    loop {
        match FrameView::peek(rest, MAX_FRAME) {
            Ok(Some(frame)) => {
                assert!(frame.len <= rest.len() && frame.len <= MAX_FRAME, "a frame beyond the buffer or the limit");
                assert_eq!(8 + frame.header.len() + frame.body.len(), frame.len, "the parts are the frame");
                assert!(whole(&rest[..frame.len - 1]).is_none(), "a frame without its last byte is none yet");
                header(&frame, &mut scratch);
                rest = &rest[frame.len..];
            }
            Ok(None) => break,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    for serialization in [Serialization::Json, Serialization::Binary] {
        header(&FrameView { serialization, header: bytes, body: b"body", len: bytes.len() + 12 }, &mut scratch);
    }
}

fn whole(bytes: &[u8]) -> Option<FrameView<'_>> {
    FrameView::peek(bytes, MAX_FRAME).ok().flatten()
}

/// A header is read alike with new and with used memory; what it holds is no more than was sent, and survives being
/// written in both forms.
fn header(frame: &FrameView<'_>, scratch: &mut HeaderScratch) {
    let used = CommandView::parse(frame, scratch).map(|view| Command::from_view(&view, frame.body.to_vec().into()));
    let command = Command::decode(frame);
    assert_eq!(used, command, "memory that was used before makes a difference");
    let command = match command {
        Ok(command) => command,
        Err(error) => {
            return assert!(error.to_string().contains("header") || error.to_string().contains("field"), "{error}");
        }
    };
    assert!(command.fields.len() <= MAX_FIELDS);
    let held: usize = command.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(held <= 8 * frame.header.len(), "{held} bytes of text from {}", frame.header.len());
    survives(&command, Serialization::Json);
    if fits_binary(&command) {
        survives(&command, Serialization::Binary);
    }
}

fn survives(command: &Command, serialization: Serialization) {
    let mut out = BytesMut::new();
    command.encode(serialization, &mut out);
    let frame = FrameView::peek(&out, DEFAULT_MAX_FRAME).expect("a frame").expect("all of it");
    assert_eq!(frame.len, out.len());
    let again = Command::decode(&frame).expect("a header that was written here");
    assert_eq!(&again, command, "{serialization:?}");
    let mut twice = BytesMut::new();
    again.encode(serialization, &mut twice);
    assert_eq!(twice, out, "one way to write a command");
}

/// Numbers of 16 bits, and names that are there.
fn fits_binary(command: &Command) -> bool {
    i16::try_from(command.code).is_ok()
        && i16::try_from(command.version).is_ok()
        && command.fields.iter().all(|(name, _)| (1..=i16::MAX as usize).contains(&name.len()))
}
