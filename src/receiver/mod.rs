//! Receivers: where readings come in and acknowledgements go out.

pub mod arrival;
pub mod lines;
pub mod mqtt;
pub mod router;
pub mod tcp;
pub mod topic;

use std::pin::Pin;
use std::task::Poll;

/// The output if it is there already; the future goes on existing either way.
async fn now_or_pending<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
