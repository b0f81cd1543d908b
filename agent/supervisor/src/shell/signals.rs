//! Signals that this process is sent, as a bounded queue.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};

/// Signals that come; dropped, it no longer waits for them.
pub(crate) struct Signals {
    queue: mpsc::Receiver<i32>,
    _tasks: JoinSet<()>,
}

impl Signals {
    /// Waits for these signals from now on.
    pub(crate) fn listen(numbers: impl IntoIterator<Item = i32>) -> io::Result<Self> {
        let (sender, queue) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        for number in numbers {
            let (mut stream, sender) = (signal(SignalKind::from_raw(number))?, sender.clone());
            tasks.spawn(async move { while stream.recv().await.is_some() && sender.send(number).await.is_ok() {} });
        }
        Ok(Self { queue, _tasks: tasks })
    }

    /// The next signal's number; never, if none is waited for.
    pub(crate) async fn next(&mut self) -> i32 {
        match self.queue.recv().await {
            Some(number) => number,
            None => std::future::pending().await,
        }
    }
}
