//! Calling what users wrote: it may fail, hang or panic.

use std::{future::Future, time::Duration};

use tokio::{task::JoinSet, time::timeout};

use super::BoxError;

/// Runs `work` in a task of its own, for so long at most.
pub(super) async fn guarded<T: Send + 'static>(
    limit: Duration,
    work: impl Future<Output = Result<T, BoxError>> + Send + 'static,
) -> Result<T, BoxError> {
    let mut task = JoinSet::new(); // ends with this call, whatever way
    task.spawn(work);
    match timeout(limit, task.join_next()).await {
        Ok(Some(Ok(result))) => result,
        Ok(_) => Err("it panicked".into()),
        Err(_) => Err(format!("no answer within {limit:?}").into()),
    }
}
