//! Why a request is refused, and the one table from the store's errors to response codes.

use std::borrow::Cow;

use tenonmq_protocol::{code::ResponseCode, error::HeaderError};
use tenonmq_storage::{AppendError, Unwritable};

use crate::remoting::Response;

/// Apache's pointer for people, at the end of some remarks.
pub const SEE_FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// A refusal: the code that Apache answers, and what was wrong in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What clients act upon.
    pub code: ResponseCode,
    /// What people read.
    pub remark: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with its reason.
    pub fn new(code: ResponseCode, remark: impl Into<Cow<'static, str>>) -> Self {
        Self { code, remark: remark.into() }
    }

    /// A parameter that makes no sense (29).
    pub fn invalid(remark: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ResponseCode::INVALID_PARAMETER, remark)
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        Self::error(refusal.code, refusal.remark)
    }
}

/// A header that lacks a field or has one of the wrong type. Apache runs into an exception there and answers 1.
impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        Self::new(ResponseCode::SYSTEM_ERROR, error.to_string())
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let remark = error.to_string();
        let code = match error {
            AppendError::TooLarge { .. }
            | AppendError::PropertiesTooLarge { .. }
            | AppendError::Topic { .. }
            | AppendError::Empty => {
                return Self::new(ResponseCode::MESSAGE_ILLEGAL, format!("the message is illegal: {remark}"));
            }
            AppendError::Unwritable(reason) => match reason {
                Unwritable::Io(_) => ResponseCode::SYSTEM_ERROR,
                _ => ResponseCode::SERVICE_NOT_AVAILABLE,
            },
            _ => ResponseCode::SYSTEM_ERROR,
        };
        Self::new(code, format!("service not available now: {remark}"))
    }
}
