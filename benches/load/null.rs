//! The floor: a server with the same runtime and the same framing that answers every request with success.

use std::{io, net::SocketAddr};

use bytes::BytesMut;
use tenonmq_protocol::{
    code::{RequestCode, ResponseCode},
    command::{CommandView, HeaderScratch},
    frame::{DEFAULT_MAX_FRAME, FrameView},
    message::batch,
    writer::{Envelope, FrameWriter},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const POP_MESSAGE: RequestCode = RequestCode(200_050);
const MESSAGE_ID: &str = "7F00000100002A9F0000000000000000";

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        println!("ready: null server on {} (pid {})", listener.local_addr()?, std::process::id());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                if let Err(error) = connection(stream).await {
                    eprintln!("null: {error}");
                }
            });
        }
    })
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    let mut input = BytesMut::with_capacity(128 * 1024);
    let mut output = BytesMut::new();
    let mut scratch = HeaderScratch::default();
    loop {
        input.reserve(64 * 1024);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut done = 0;
        while let Some(frame) = FrameView::peek(&input[done..], DEFAULT_MAX_FRAME).map_err(invalid)? {
            done += frame.len;
            let command = CommandView::parse(&frame, &mut scratch).map_err(invalid)?;
            if !command.is_oneway() {
                answer(&frame, &command, &mut output);
            }
        }
        let _ = input.split_to(done);
        stream.write_all(&output).await?;
        output.clear();
    }
}

/// As many bytes as a broker's answer has. A pop finds 32 messages, without their bodies. A batch is taken apart, as its
/// answer has an id for each message. What is neither sent nor popped is answered with success alone.
pub(crate) fn answer(frame: &FrameView<'_>, request: &CommandView<'_>, output: &mut BytesMut) {
    let envelope = Envelope::response(ResponseCode::SUCCESS, request.opaque);
    let mut writer = FrameWriter::begin(output, frame.serialization, &envelope);
    match RequestCode(request.code) {
        POP_MESSAGE => {
            writer.field("popTime", 1_795_248_619_331_i64).field("invisibleTime", 60_000).field("reviveQid", 0);
            writer.field("restNum", 0).field("startOffsetInfo", "0 0 0");
            writer.field(
                "msgOffsetInfo",
                "0 0 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            );
        }
        RequestCode::SEND_BATCH_MESSAGE => {
            let messages = batch::count(frame.body).unwrap_or(0);
            let ids = vec![MESSAGE_ID; messages].join(",");
            stored(&mut writer, &ids);
        }
        RequestCode::SEND_MESSAGE | RequestCode::SEND_MESSAGE_V2 => stored(&mut writer, MESSAGE_ID),
        _ => {}
    }
    writer.finish(0);
}

fn stored(writer: &mut FrameWriter<'_>, ids: &str) {
    writer.field("MSG_REGION", "DefaultRegion");
    writer.field("TRACE_ON", "true");
    writer.field("msgId", ids);
    writer.field("queueId", 0);
    writer.field("queueOffset", 0);
    writer.field("transactionId", "7F0000010000000000000000000000000");
}

pub(crate) fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use tenonmq_protocol::{command::Command, message::batch::BatchElement, writer::Envelope};

    use super::*;

    fn answer_to(code: RequestCode, body: &[u8]) -> Command {
        let (mut asked, mut answered) = (BytesMut::new(), BytesMut::new());
        let envelope = Envelope::request(code, 7);
        FrameWriter::begin(&mut asked, tenonmq_protocol::frame::Serialization::Json, &envelope).finish(body.len());
        asked.extend_from_slice(body);
        let frame = FrameView::peek(&asked, DEFAULT_MAX_FRAME).unwrap().unwrap();
        let mut scratch = HeaderScratch::default();
        answer(&frame, &CommandView::parse(&frame, &mut scratch).unwrap(), &mut answered);
        Command::decode(&FrameView::peek(&answered, DEFAULT_MAX_FRAME).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn a_batch_is_answered_with_an_id_for_each_message() {
        let mut body = Vec::new();
        for _ in 0..3 {
            BatchElement { flag: 0, body: b"x", properties: b"" }.encode_into(&mut body).unwrap();
        }
        let stored = answer_to(RequestCode::SEND_BATCH_MESSAGE, &body);
        let ids = stored.fields.iter().find(|(name, _)| name == "msgId").map(|(_, ids)| ids.split(',').count());
        assert_eq!((stored.code, stored.opaque, ids), (0, 7, Some(3)));
    }

    #[test]
    fn only_a_send_is_told_where_its_message_lies() {
        assert_eq!(answer_to(RequestCode::SEND_MESSAGE_V2, b"x").fields.len(), 6);
        for code in
            [RequestCode::UPDATE_CONSUMER_OFFSET, RequestCode::END_TRANSACTION, RequestCode::CONSUMER_SEND_MSG_BACK]
        {
            assert!(answer_to(code, b"").fields.is_empty());
        }
    }
}
