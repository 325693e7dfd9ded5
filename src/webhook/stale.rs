//! A kept connection that the handler had closed costs another request, and nothing else.

use super::verdict::SendError;

/// Is an error that may say that a kept connection had ended before the request was sent over it.
pub trait MaybeStale {
    /// Tells whether it does.
    fn is_stale(&self) -> bool;
}

impl MaybeStale for SendError {
    fn is_stale(&self) -> bool {
        matches!(self, Self::Stale(_))
    }
}

/// Makes a request, and once more at once if its connection had ended: never a third time, for then it is the handler.
///
/// # Errors
/// When the last request fails.
pub async fn anew_if_stale<T, E, F>(request: impl Fn() -> F) -> Result<T, E>
where
    E: MaybeStale,
    F: Future<Output = Result<T, E>>,
{
    match request().await {
        Err(error) if error.is_stale() => request().await,
        done => done,
    }
}
