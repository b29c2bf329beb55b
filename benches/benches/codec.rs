//! Headers and records: what a send costs before it reaches the log.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tenonmq_protocol::{
    Command, CommandView, Envelope, FrameView, FrameWriter, HeaderScratch, RequestHeader, ResponseCode, Serialization,
    frame::DEFAULT_MAX_FRAME,
    header::SendMessage,
    message::{Assigned, NewRecord, Properties, RecordView, body_crc},
};

const PROPERTIES: &str = "KEYS\u{1}order-42\u{2}UNIQ_KEY\u{1}7F0000010B6D4E50A2B92D3C0A7F0001\u{2}\
                          WAIT\u{1}true\u{2}TAGS\u{1}paid\u{2}";

fn send_frame(serialization: Serialization) -> BytesMut {
    let header = SendMessage {
        producer_group: "orders",
        topic: "paid",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 1,
        born_timestamp: 1_795_247_636_527,
        properties: PROPERTIES,
        ..SendMessage::default()
    };
    let mut frame = BytesMut::new();
    Command::with_header(&header).with_body(vec![b'x'; 1024]).encode(serialization, &mut frame);
    frame
}

fn headers(criterion: &mut Criterion) {
    for (name, serialization) in [("json", Serialization::Json), ("binary", Serialization::Binary)] {
        let bytes = send_frame(serialization);
        let mut scratch = HeaderScratch::default();
        criterion.bench_function(&format!("send header, {name}: parse and decode"), |bench| {
            bench.iter(|| {
                let frame = FrameView::peek(&bytes, DEFAULT_MAX_FRAME).ok().flatten().expect("a whole frame");
                let command = CommandView::parse(&frame, &mut scratch).expect("a valid header");
                black_box(SendMessage::decode(&command.fields).map(|header| header.queue_id).expect("a send"))
            });
        });
    }
    let mut out = BytesMut::new();
    criterion.bench_function("send receipt: write", |bench| {
        bench.iter(|| {
            out.clear();
            let mut writer =
                FrameWriter::begin(&mut out, Serialization::Json, &Envelope::response(ResponseCode::SUCCESS, 7));
            writer.field("msgId", "7F00000100002A9F0000000000003039").field("queueId", 1).field("queueOffset", 42);
            writer.finish(0);
            black_box(out.len())
        });
    });
}

fn records(criterion: &mut Criterion) {
    let body = vec![b'x'; 1024];
    let host = ([127, 0, 0, 1], 10911).into();
    let record = NewRecord {
        topic: "paid",
        queue_id: 1,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_795_247_636_527,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        properties: PROPERTIES.as_bytes(),
        body_crc: body_crc(&body),
    };
    let mut buffer = vec![0; record.encoded_len()];
    let mut group = criterion.benchmark_group("record of 1 KiB");
    group.throughput(Throughput::Bytes(1024));
    group.bench_function("encode", |bench| bench.iter(|| record.encode(black_box(&mut buffer), Assigned::default())));
    group.bench_function("parse", |bench| {
        bench.iter(|| black_box(RecordView::parse(&buffer).map(|view| view.queue_offset()).expect("a record")));
    });
    group.bench_function("crc of the body", |bench| bench.iter(|| black_box(body_crc(&body))));
    group.finish();
    let mut text = Vec::new();
    criterion.bench_function("properties: parse, add three, write", |bench| {
        bench.iter(|| {
            text.clear();
            let mut properties = Properties::parse(PROPERTIES);
            properties.set("MSG_REGION", "DefaultRegion");
            properties.set("TRACE_ON", "true");
            properties.set("CLUSTER", "DefaultCluster");
            properties.encode_into(&mut text);
            black_box(text.len())
        });
    });
}

criterion_group!(benches, headers, records);
criterion_main!(benches);
