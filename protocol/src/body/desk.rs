//! Requests of TenonMQ's own (codes from 540,000): a JSON body in, a JSON body out, no header fields.
//!
//! A new one is a code in [`RequestCode`], a body with its answer, and `impl DeskRequest` that ties the three. The
//! client's `Admin::ask` sends any of them, and the broker's handlers read any of them.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::{code::RequestCode, error::HeaderError, fields::Fields, header::RequestHeader, writer::FieldSink};

/// The body of a request of our own.
pub trait DeskRequest: Serialize + DeserializeOwned {
    /// The request's code.
    const CODE: RequestCode;

    /// The body of its answer.
    type Answer: Serialize + DeserializeOwned;
}

/// The header of a [`DeskRequest`]: its code and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct DeskHeader<R>(PhantomData<R>);

impl<R> Default for DeskHeader<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<'a, R: DeskRequest> RequestHeader<'a> for DeskHeader<R> {
    const CODE: RequestCode = R::CODE;

    fn decode(_: &Fields<'a>) -> Result<Self, HeaderError> {
        Ok(Self::default())
    }

    fn encode(&self, _: &mut impl FieldSink) {}
}

bodies! {
    /// The answer of requests that only do something.
    #[derive(Default)]
    Done {}
}
