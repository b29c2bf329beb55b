//! The least that answering a pull can cost: a header is written, then the records go by `sendfile` from a file that is
//! in the page cache.
//!
//! One thread a connection, as its work is system calls. All but pulls is answered as the null server does, so that
//! `load pull` can be its client unchanged.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
};

use bytes::BytesMut;
use rustix::net::{SendFlags, send};
use tenonmq_protocol::{
    code::{RequestCode, ResponseCode},
    command::{CommandView, HeaderScratch},
    frame::{DEFAULT_MAX_FRAME, FrameView},
    writer::{Envelope, FrameWriter},
};

use crate::null::{self, invalid};

/// Messages of the file, which every queue consists of.
const MESSAGES: u64 = 20_000;

/// The file: records of one length.
struct Records {
    file: File,
    record_len: u64,
}

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr, dir: &Path, size: usize) -> io::Result<()> {
    let records = Arc::new(Records::write(dir, size)?);
    let listener = TcpListener::bind(listen)?;
    println!("ready: sendfile server on {} (pid {})", listener.local_addr()?, std::process::id());
    for stream in listener.incoming() {
        let (stream, records) = (stream?, Arc::clone(&records));
        thread::spawn(move || {
            if let Err(error) = connection(stream, &records) {
                eprintln!("sendfile: {error}");
            }
        });
    }
    Ok(())
}

impl Records {
    /// The file has no name any more when this returns.
    fn write(dir: &Path, size: usize) -> io::Result<Self> {
        let record = super::record(size);
        let mut file = tempfile::tempfile_in(dir)?;
        let mut writer = io::BufWriter::with_capacity(1 << 20, &mut file);
        for _ in 0..MESSAGES {
            writer.write_all(&record)?;
        }
        writer.flush()?;
        drop(writer);
        Ok(Self { file, record_len: record.len() as u64 })
    }
}

fn connection(mut stream: TcpStream, records: &Records) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(64 * 1024);
    let mut chunk = vec![0; 64 * 1024];
    let mut output = BytesMut::new();
    let mut scratch = HeaderScratch::default();
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..read]);
        let mut done = 0;
        while let Some(frame) = FrameView::peek(&input[done..], DEFAULT_MAX_FRAME).map_err(invalid)? {
            done += frame.len;
            let command = CommandView::parse(&frame, &mut scratch).map_err(invalid)?;
            if command.code == RequestCode::PULL_MESSAGE.0 {
                pull(&mut stream, records, &frame, &command, &mut output)?;
            } else if !command.is_oneway() {
                null::answer(&frame, &command, &mut output);
            }
        }
        let _ = input.split_to(done);
        stream.write_all(&output)?;
        output.clear();
    }
}

fn pull(
    stream: &mut TcpStream,
    records: &Records,
    frame: &FrameView<'_>,
    request: &CommandView<'_>,
    output: &mut BytesMut,
) -> io::Result<()> {
    let from: u64 = request.fields.number("queueOffset").map_err(invalid)?;
    let most: u64 = request.fields.number("maxMsgNums").map_err(invalid)?;
    let count = MESSAGES.saturating_sub(from).min(most);
    let code = if count > 0 { ResponseCode::SUCCESS } else { ResponseCode::PULL_NOT_FOUND };
    let mut writer = FrameWriter::begin(output, frame.serialization, &Envelope::response(code, request.opaque));
    writer.field("suggestWhichBrokerId", 0).field("nextBeginOffset", from + count);
    writer.field("minOffset", 0).field("maxOffset", MESSAGES).field("topicSysFlag", 0).field("groupSysFlag", 0);
    let mut left = count * records.record_len;
    writer.finish(left as usize);
    let mut head = &output[..];
    while !head.is_empty() {
        let more = if left > 0 { SendFlags::MORE } else { SendFlags::empty() };
        let sent = send(&*stream, head, more | SendFlags::NOSIGNAL)?;
        head = head.get(sent..).unwrap_or_default();
    }
    output.clear();
    let mut at = from * records.record_len;
    while left > 0 {
        let sent = rustix::fs::sendfile(&*stream, &records.file, Some(&mut at), left as usize)?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= sent as u64;
    }
    Ok(())
}
