//! Changes: made as a whole also if the client leaves, said in the log, and not too many at a time.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::info;

use super::caller::Caller;
use super::error::ApiError;
use crate::control::plane::PlaneError;

/// Changes at a time: those that wait for each other inside the plane, too.
const CHANGES: usize = 64;

/// The changes under way. Clones count together.
#[derive(Clone, Debug)]
pub struct Changes(Arc<Semaphore>);

impl Default for Changes {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CHANGES)))
    }
}

impl Changes {
    /// Makes a change, and says in the log who made it. It is made as a whole also if the client does not wait for the answer, and until
    /// then it counts.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        caller: Caller,
        what: String,
        work: impl Future<Output = Result<T, PlaneError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            return Err(PlaneError::Unavailable("too many changes are under way".into()).into());
        };
        let work = async move {
            let done = work.await;
            let (user, what) = (one_line(&caller.name), one_line(&what));
            match &done {
                Ok(_) => info!(user = %user, "{what}"),
                Err(error) => info!(user = %user, "{what}: refused: {}", one_line(&error.to_string())),
            }
            drop(place);
            done
        };
        match tokio::spawn(work).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(PlaneError::Failed("the control plane failed; its log says why".into()).into()),
        }
    }
}

/// A text of a client's, for the log: nothing in it begins another line or moves a terminal's cursor.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => line.push(character),
            other => line.extend(other.escape_debug()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_text_is_one_line_of_the_log() {
        assert_eq!(one_line("no \"λ\"\nINFO\u{1b}[2J\u{2028}"), "no \"λ\"\\nINFO\\u{1b}[2J\\u{2028}");
    }

    #[tokio::test]
    async fn changes_end_without_their_clients_and_are_counted_until_then() {
        let changes = Changes(Arc::new(Semaphore::new(1)));
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let done = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&done);
        let work = async move {
            gone.await.expect("told to go on");
            mark.store(true, Ordering::Relaxed);
            Ok(())
        };
        let left = changes.make(Caller::local(), "slow".into(), work);
        assert!(tokio::time::timeout(Duration::ZERO, left).await.is_err(), "the client leaves");
        let refused = changes.make(Caller::local(), "one more".into(), async { Ok(()) }).await.unwrap_err();
        assert_eq!(refused.status(), 503);
        go.send(()).expect("it still waits");
        while changes.0.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(done.load(Ordering::Relaxed));
        changes.make(Caller::local(), "the next".into(), async { Ok(()) }).await.unwrap();
    }
}
