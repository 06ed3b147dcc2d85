//! The end of stdin, which asks a process to stop.

use std::io::Read;

/// Waits for the end of stdin. Reads it in a separate thread. The read may block forever, and must not prevent the end
/// of the runtime.
pub(crate) async fn end() {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let _ = end.await;
}
