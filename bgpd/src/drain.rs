//! Drain, undrain, leave: what an operator or a shutdown intends with this node.
//!
//! The intent is on disk before it is acted upon, so that a process that ends in the middle of it is
//! followed by one that goes on.

use crate::intent::For;
use crate::run::Run;
use bgp_core::event::Event;
use std::time::Duration;

impl Run {
    pub(crate) fn drain(&mut self, wait: Duration, on: For) -> Result<&'static str, String> {
        if let Err(error) = self.intent.drain(on) {
            let error = mainstay_daemon::chain(&error);
            // The node goes down whether its disk has room or not.
            if on != For::Shutdown {
                return Err(error);
            }
            tracing::warn!(error, "drained for the shutdown, which the next process will not know");
        }
        self.tell(Event::Drain { wait });
        Ok(self.speaker.intent())
    }

    pub(crate) fn undrain(&mut self, by: For) -> Result<&'static str, String> {
        if self.intent.undrain(by).map_err(|e| mainstay_daemon::chain(&e))? {
            self.tell(Event::Undrain);
        }
        Ok(self.speaker.intent())
    }

    /// A process that ends on the way is followed by a drained one. When the speaker has left,
    /// `attend` ends.
    pub(crate) fn leave(&mut self, wait: Duration) -> Result<&'static str, String> {
        self.intent.drain(For::Operator).map_err(|e| mainstay_daemon::chain(&e))?;
        self.tell(Event::Leave { wait });
        Ok(self.speaker.intent())
    }
}
