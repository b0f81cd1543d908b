//! The stop signals that a Deployment can name, as the system's own.

use helium_crds::deployment::StopSignal;
use rustix::process::Signal;

/// The system's signal.
pub(crate) fn system_signal(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::TERM,
        StopSignal::Int => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::Hup => Signal::HUP,
        StopSignal::Usr1 => Signal::USR1,
        StopSignal::Usr2 => Signal::USR2,
    }
}
