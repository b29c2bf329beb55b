//! Sends messages back over a connection of its own, so that each request is made exactly once.

use std::{io, time::Duration};

use bytes::BytesMut;
use tenonmq_client::ReceivedMessage;
use tenonmq_protocol::{Command, FrameView, Serialization, frame::DEFAULT_MAX_FRAME, header::SendBack};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{ledger::MAX_RETRIES, names};

const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct SendBacks {
    address: String,
    stream: Option<TcpStream>,
}

impl SendBacks {
    pub(super) fn new(address: String) -> Self {
        Self { address, stream: None }
    }

    /// Asks once; whether it was answered with success.
    pub(super) async fn ask(&mut self, message: &ReceivedMessage) -> bool {
        let id = message.id();
        let header = SendBack {
            commit_log_offset: message.physical_offset(),
            group: names::WORKERS,
            delay_level: 0,
            origin_message_id: Some(&id),
            origin_topic: Some(message.topic()),
            unit_mode: false,
            max_reconsume_times: Some(MAX_RETRIES),
            broker_name: Some(&message.queue().broker_name),
            cause_class: None,
            cause_digest: None,
            cause_host: None,
        };
        match timeout(PATIENCE, self.exchange(&Command::with_header(&header))).await {
            Ok(Ok(code)) => code == 0,
            Ok(Err(_)) | Err(_) => {
                self.stream = None;
                false
            }
        }
    }

    async fn exchange(&mut self, command: &Command) -> io::Result<i32> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(TcpStream::connect(&self.address).await?),
        };
        let mut bytes = BytesMut::new();
        command.encode(Serialization::Json, &mut bytes);
        stream.write_all(&bytes).await?;
        bytes.clear();
        loop {
            if let Some(frame) = FrameView::peek(&bytes, DEFAULT_MAX_FRAME).map_err(io::Error::other)? {
                return Ok(Command::decode(&frame).map_err(io::Error::other)?.code);
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
