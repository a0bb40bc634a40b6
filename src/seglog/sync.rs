//! What makes entries durable, shared with other threads.

use std::fs::File;
#[cfg(test)]
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::LogError;

/// What the appending thread and syncing threads share.
pub(super) struct Shared {
    pub dir: PathBuf,
    pub state: Mutex<SharedState>,
}

#[derive(Default)]
pub(super) struct SharedState {
    pub active: Option<(Arc<File>, PathBuf)>,
    pub appended: Option<u64>,
    pub durable: Option<u64>,
    pub poisoned: Option<String>,
    #[cfg(test)]
    pub fail_sync: bool,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, SharedState> {
        // The state is plain data, valid at every step: a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn healthy(&self) -> Result<(), LogError> {
        match &self.lock().poisoned {
            None => Ok(()),
            Some(cause) => Err(LogError::Poisoned { path: self.dir.clone(), cause: cause.clone() }),
        }
    }

    pub fn poison(&self, error: LogError) -> LogError {
        self.lock().poisoned.get_or_insert_with(|| error.to_string());
        error
    }

    pub fn sync(&self) -> Result<Option<u64>, LogError> {
        self.healthy()?;
        let (active, appended, durable) = {
            let state = self.lock();
            (state.active.clone(), state.appended, state.durable)
        };
        let Some((file, path)) = active else { return Ok(durable) };
        if appended == durable {
            return Ok(durable);
        }
        // Outside the lock: appends go on while the disk works.
        let synced = file.sync_data();
        #[cfg(test)]
        let synced = if self.lock().fail_sync { Err(io::Error::other("injected")) } else { synced };
        if let Err(source) = synced {
            return Err(self.poison(LogError::io("sync", &path, source)));
        }
        let mut state = self.lock();
        state.durable = state.durable.max(appended);
        Ok(state.durable)
    }
}

/// Lets another thread make durable what has been appended so far. Cheap to clone.
#[derive(Clone)]
pub struct SyncHandle(pub(super) Arc<Shared>);

impl SyncHandle {
    /// fdatasync of what was appended when it was called; entries appended meanwhile may or may
    /// not be included. Returns the number up to which everything is durable.
    ///
    /// # Errors
    /// The system's; the log is then poisoned for good.
    pub fn sync(&self) -> Result<Option<u64>, LogError> {
        self.0.sync()
    }
}
