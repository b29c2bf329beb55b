//! SQL conditions that groups have registered, as `config/consumerFilter.json` holds them.

use std::collections::BTreeMap;

use serde::{Serializer, ser::SerializeTuple};

bodies! {
    /// The whole file. Upstream: `ConsumerFilterManager`.
    #[derive(Default)]
    ConsumerFilters {
        /// By topic.
        filter_data_by_topic: BTreeMap<String, TopicFilters>,
    }

    /// Conditions on one topic.
    #[derive(Default)]
    TopicFilters {
        /// By group.
        group_filter_data: BTreeMap<String, ConsumerFilterData>,
        /// The topic.
        topic: String,
    }

    /// What one group wants of one topic.
    #[derive(Default)]
    ConsumerFilterData {
        /// The group's places in the bit maps of extension files.
        bloom_filter_data: Option<BloomFilterData>,
        /// When it was registered, in milliseconds.
        born_time: i64,
        /// Version of the subscription, in milliseconds.
        client_version: i64,
        /// The group.
        consumer_group: String,
        /// Nobody wants it any more; follows from the two times.
        dead: bool,
        /// When the last member went, in milliseconds; 0 while it lives.
        dead_time: i64,
        /// The expression.
        expression: String,
        /// `SQL92`.
        expression_type: String,
        /// The topic.
        topic: String,
    }

    /// Places in a bit map.
    #[derive(Default)]
    BloomFilterData {
        /// Length of the map in bits.
        bit_num: i32,
        /// The places.
        #[serde(serialize_with = "int_array")]
        bit_pos: Vec<i32>,
    }
}

/// Written as Java's `int[]`, which unlike a list stays on one line.
fn int_array<S: Serializer>(numbers: &[i32], serializer: S) -> Result<S::Ok, S::Error> {
    let mut array = serializer.serialize_tuple(numbers.len())?;
    for number in numbers {
        array.serialize_element(number)?;
    }
    array.end()
}
